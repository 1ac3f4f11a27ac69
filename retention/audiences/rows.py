"""Convert between an expression and the rows of a form: field, comparison, value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retention.audiences.expression import (
    ENGAGED,
    IN_PERIOD,
    NUMBER,
    PRODUCT_KINDS,
    STORE,
    And,
    AtStore,
    Bought,
    Comparison,
    Engaged,
    Expression,
    InCampaign,
    InList,
    Not,
    OneOf,
    Or,
    kind_of,
    print_value,
    quote,
    within,
)
from retention.audiences.parse import parse
from retention.errors import BadInput
from retention.text import gettext

PRODUCTS = tuple(f"{verb} {kind}" for verb in ("bought", "viewed") for kind in PRODUCT_KINDS)
NAMED = (CAMPAIGN, LIST) = ("in campaign", "in list")
CONDITIONS = (*PRODUCTS, *ENGAGED, *NAMED)  # what a row can say beside fields
EVER = "ever"  # the value of an opened or clicked e-mail without a period
_WITHIN = re.compile(r"(.+?)(?:\s+in\s+(\d+\s*\w+))?(?:\s+at\s+store\s+(.+))?", re.IGNORECASE)
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the form.

    `field`: a field, or one of `CONDITIONS`.
    `period`: of a value that was picked in a menu, or empty; None if the value was typed.
    """

    field: str = ""
    operator: str = "="
    value: str = ""
    period: str | None = None

    @property
    def is_empty(self) -> bool:
        return not self.value.strip()

    @property
    def is_ordered(self) -> bool:
        """Whether its field has more and less."""
        return self.field not in (*CONDITIONS, STORE)

    @property
    def comparison(self) -> str:
        """The operator that counts: a chosen one stays when another field is chosen."""
        return self.operator if self.is_ordered or self.operator == "!=" else "="


def picked(row: Row) -> tuple[str, str]:
    """Return the value that a menu shows for a row, and the period beside it."""
    if row.period is not None:
        return row.value, row.period
    match = _WITHIN.fullmatch(row.value.strip())
    return (match[1], match[2] or "") if match and not match[3] else (row.value.strip(), "")


def condition_of(row: Row) -> Expression:
    """Return the condition of a filled row."""
    value = row.value.strip()
    if not row.field:
        raise BadInput(gettext("Choose a field for {value!r}.").format(value=value))
    if row.period is not None and row.field in (*PRODUCTS, STORE):
        operator = " =" if row.field == STORE else ""
        period = f" in {row.period}" if row.period and row.field != STORE else ""
        return _unless_negated(row, parse(f"{row.field}{operator} {quote(row.value)}{period}"))
    if row.field in PRODUCTS or row.field in IN_PERIOD:
        match = _WITHIN.fullmatch(value)
        name, days, store = match.groups() if match else (value, None, None)
        period = f" in {days}" if days else ""
        if row.field in IN_PERIOD:
            return _compared(f"{row.field}{period}", row, name)
        at_store = f" at store {_quoted(store)}" if store else ""
        return _unless_negated(row, parse(f"{row.field} {_quoted(name)}{period}{at_store}"))
    if row.field in NAMED:
        return _unless_negated(row, parse(f"{row.field} {_quoted(value)}"))
    if row.field in ENGAGED:
        period = "" if value.lower() == EVER else f" in {value}"
        return _unless_negated(row, parse(f"{row.field}{period}"))
    return _compared(row.field, row, value)


def _compared(field: str, row: Row, value: str) -> Expression:
    """Compare a field with a value, or with one of several."""
    is_text = kind_of(row.field) in ("text", "attribute")
    parts = [one.strip() for one in value.split(",") if one.strip()]
    is_list = len(parts) > 1 and (is_text or not _THOUSANDS.fullmatch(value))
    if is_list and row.comparison in ("=", "!="):
        listed = ", ".join(map(_quoted, parts) if is_text else parts)
        return _unless_negated(row, parse(f"{field} in ({listed})"))
    is_quoted = is_text and not NUMBER.fullmatch(value)
    return parse(f"{field} {row.comparison} {_quoted(value) if is_quoted else value}")


def expression_of(rows: list[Row], *, any_of: bool = False) -> Expression:
    """Join the filled rows to an expression.

    `rows`: empty rows are ignored.
    `any_of`: customers of at least one row, not of all.
    """
    conditions = [condition_of(row) for row in rows if not row.is_empty]
    if not conditions:
        raise BadInput(gettext("Fill in at least one condition."))
    whole = conditions[0]
    for condition in conditions[1:]:
        whole = Or(whole, condition) if any_of else And(whole, condition)
    return whole


def rows_of(expression: Expression) -> tuple[list[Row], bool] | None:
    """Return the rows of an expression and whether any of them suffices.

    None if the form cannot show it, because it mixes ``and`` with ``or``, negates a group, or has a
    value that would be read otherwise when typed.
    """
    any_of = isinstance(expression, Or)
    rows = []
    for part in _parts(expression, Or if any_of else And):
        row = _row(part)
        if row is None or not _reads_as(row, part):
            return None
        rows.append(row)
    return rows, any_of


def _reads_as(row: Row, condition: Expression) -> bool:
    try:
        return condition_of(row) == condition
    except BadInput:
        return False


def _parts(expression: Expression, joint: type) -> list[Expression]:
    if isinstance(expression, And | Or) and isinstance(expression, joint):
        return [*_parts(expression.left, joint), *_parts(expression.right, joint)]
    return [expression]


def _row(part: Expression) -> Row | None:
    negated = isinstance(part, Not)
    inner = part.part if isinstance(part, Not) else part
    operator = "!=" if negated else "="
    match inner:
        case Bought(kind, name, days, store, action):
            at_store = f" at store {store}" if store else ""
            return Row(f"{action} {kind}", operator, f"{name}{within(days)}{at_store}")
        case Engaged(action, days):
            return Row(action, operator, EVER if days is None else f"{days}d")
        case InCampaign(name):
            return Row(CAMPAIGN, operator, name)
        case InList(name):
            return Row(LIST, operator, name)
        case AtStore(names):
            return _listed(STORE, operator, names, least=1)
        case OneOf(field, values, days):
            return _listed(field, operator, [_plain(field, value) for value in values], days)
        case Comparison(field, comparison, value, days) if not negated:
            return Row(field, comparison, _plain(field, value) + within(days))
    return None


def _listed(
    field: str, operator: str, values: Sequence[str], days: int | None = None, least: int = 2
) -> Row | None:
    """Return the row of several values; None if a comma is in one of them."""
    is_plain = len(values) >= least and not any("," in value for value in values)
    return Row(field, operator, ", ".join(values) + within(days)) if is_plain else None


def _plain(field: str, value: str | float) -> str:
    return value if isinstance(value, str) else print_value(field, value)


def _unless_negated(row: Row, condition: Expression) -> Expression:
    return Not(condition) if row.operator == "!=" else condition


def _quoted(text: str) -> str:
    plain = text.strip().strip("\"'“”")
    return quote(plain)
