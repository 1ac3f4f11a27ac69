"""Convert between an expression and the rows of a form: field, comparison, value."""

import re
from dataclasses import dataclass

from retention.audiences.expression import (
    PRODUCT_KINDS,
    And,
    Bought,
    Comparison,
    Expression,
    InCampaign,
    Not,
    OneOf,
    Or,
    kind_of,
    print_value,
    quote,
)
from retention.audiences.parse import parse
from retention.errors import BadInput
from retention.text import gettext

BOUGHT = tuple(f"bought {kind}" for kind in PRODUCT_KINDS)
CAMPAIGN = "in campaign"
_WITHIN = re.compile(r"(.+?)\s+in\s+(\d+\s*\w+)")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the form. ``field`` is a field, one of `BOUGHT` or `CAMPAIGN`."""

    field: str = ""
    operator: str = "="
    value: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.value.strip()


def condition_of(row: Row) -> Expression:
    """Return the condition of a filled row."""
    value = row.value.strip()
    if not row.field:
        raise BadInput(gettext("Choose a field for {value!r}.").format(value=value))
    if row.field in BOUGHT:
        within = _WITHIN.fullmatch(value)
        name, days = (within[1], f" in {within[2]}") if within else (value, "")
        condition = parse(f"{row.field} {_quoted(name)}{days}")
        return _unless_negated(row, condition)
    if row.field == CAMPAIGN:
        return _unless_negated(row, parse(f"{CAMPAIGN} {_quoted(value)}"))
    is_text = kind_of(row.field) in ("text", "attribute")
    if is_text and "," in value and row.operator in ("=", "!="):
        listed = ", ".join(_quoted(one) for one in value.split(",") if one.strip())
        return _unless_negated(row, parse(f"{row.field} in ({listed})"))
    is_number = re.fullmatch(r"-?\d+(\.\d+)?", value)
    return parse(
        f"{row.field} {row.operator} {_quoted(value) if is_text and not is_number else value}"
    )


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

    None if the form cannot show it, because it mixes ``and`` with ``or`` or negates a group.
    """
    any_of = isinstance(expression, Or)
    rows = []
    for part in _parts(expression, Or if any_of else And):
        row = _row(part)
        if row is None:
            return None
        rows.append(row)
    return rows, any_of


def _parts(expression: Expression, joint: type) -> list[Expression]:
    if isinstance(expression, And | Or) and isinstance(expression, joint):
        return [*_parts(expression.left, joint), *_parts(expression.right, joint)]
    return [expression]


def _row(part: Expression) -> Row | None:
    negated = isinstance(part, Not)
    inner = part.part if isinstance(part, Not) else part
    operator = "!=" if negated else "="
    if isinstance(inner, Bought):
        within = "" if inner.days is None else f" in {inner.days}d"
        return Row(f"bought {inner.kind}", operator, f"{inner.name}{within}")
    if isinstance(inner, InCampaign):
        return Row(CAMPAIGN, operator, inner.campaign)
    if isinstance(inner, OneOf):
        values = [str(_plain(inner.field, value)) for value in inner.values]
        is_plain = len(values) > 1 and not any("," in value for value in values)
        return Row(inner.field, operator, ", ".join(values)) if is_plain else None
    if isinstance(inner, Comparison) and not negated:
        return Row(inner.field, inner.operator, _plain(inner.field, inner.value))
    return None


def _plain(field: str, value: str | float) -> str:
    return value if isinstance(value, str) else print_value(field, value)


def _unless_negated(row: Row, condition: Expression) -> Expression:
    return Not(condition) if row.operator == "!=" else condition


def _quoted(text: str) -> str:
    plain = text.strip().strip("\"'“”")
    return quote(plain)
