"""Define the parts of an audience expression and how each one prints.

A printed expression parses to the same parts again.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from retention.errors import BadInput
from retention.text import gettext

TIERS = ("low", "medium", "high")
CONSENT = ("given", "unknown", "refused")
PRODUCT_KINDS = ("category", "item", "brand")
STORE = "store"  # each store of a customer's orders, or the customers' own column of this name
IN_PERIOD = ("orders", "spent")  # fields that can count within some days
ENGAGED = ("opened", "clicked")
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
KEYWORDS = ("and", "or", "not", "in", "bought", "campaign")
# Field → kind of its values. Every other field is an attribute of the customers.
FIELDS = {
    "risk": "tier",
    "probability": "share",
    "value": "number",
    "orders": "number",
    "last_order": "days",
    "first_order": "days",
    "last_event": "days",
    "spent": "number",
    "consent": "consent",
    "channel": "text",
    STORE: "text",
    "last_store": "text",
    "country": "text",
    "city": "text",
}
# Fields with few values, by which customers can be grouped. The others are numbers.
GROUPABLE = ("risk", "consent", "channel", "last_store", "country", "city")
SCORED = frozenset({"risk", "probability", "value"})  # fields that a sweep provides
WORD = re.compile(r"[^\W\d][\w.]*(?:-\w[\w.]*)*")
NUMBER = re.compile(r"-?\d+(\.\d+)?")

Value = str | float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compared with one value; ``days`` limits one of `IN_PERIOD`."""

    field: str
    operator: str
    value: Value
    days: int | None = None

    @property
    def column(self) -> str:
        """The field and its period."""
        return self.field + within(self.days)

    def __str__(self) -> str:
        return f"{self.column} {self.operator} {print_value(self.field, self.value)}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A field that equals one of several values."""

    field: str
    values: tuple[Value, ...]
    days: int | None = None

    @property
    def column(self) -> str:
        """The field and its period."""
        return self.field + within(self.days)

    def __str__(self) -> str:
        listed = ", ".join(print_value(self.field, value) for value in self.values)
        return f"{self.column} in ({listed})"


@dataclass(frozen=True, slots=True)
class AtStore:
    """An order at one of some stores, at any time."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(map(_quote_name, self.names))
        return f"{STORE} in ({names})" if len(self.names) > 1 else f"{STORE} = {names}"


@dataclass(frozen=True, slots=True)
class Bought:
    """An order of a category, item or brand, or a look at one, ever or within some days.

    ``store`` limits orders to one store. A look is a view, or an item put into the cart.
    """

    kind: Literal["category", "item", "brand"]
    name: str
    days: int | None = None
    store: str | None = None
    action: Literal["bought", "viewed"] = "bought"

    def __str__(self) -> str:
        at = "" if self.store is None else f" at store {_quote_name(self.store)}"
        return f"{self.action} {self.kind} {quote(self.name)}{within(self.days)}{at}"


@dataclass(frozen=True, slots=True)
class Engaged:
    """An e-mail opened, or a link of one clicked, ever or within some days."""

    action: Literal["opened", "clicked"]
    days: int | None = None

    def __str__(self) -> str:
        return self.action + within(self.days)


@dataclass(frozen=True, slots=True)
class InCampaign:
    """Membership in a sent campaign, by id or name, in either group."""

    campaign: str

    def __str__(self) -> str:
        return f"in campaign {quote(self.campaign)}"


@dataclass(frozen=True, slots=True)
class InList:
    """Membership in an imported list."""

    name: str

    def __str__(self) -> str:
        return f"in list {_quote_name(self.name)}"


@dataclass(frozen=True, slots=True)
class Not:
    """The customers outside a part."""

    part: "Expression"

    def __str__(self) -> str:
        inner = f"({self.part})" if isinstance(self.part, And | Or) else str(self.part)
        return f"not {inner}"


@dataclass(frozen=True, slots=True)
class And:
    """The customers inside both parts."""

    left: "Expression"
    right: "Expression"

    def __str__(self) -> str:
        left = f"({self.left})" if isinstance(self.left, Or) else str(self.left)
        right = f"({self.right})" if isinstance(self.right, And | Or) else str(self.right)
        return f"{left} and {right}"


@dataclass(frozen=True, slots=True)
class Or:
    """The customers inside at least one part."""

    left: "Expression"
    right: "Expression"

    def __str__(self) -> str:
        right = f"({self.right})" if isinstance(self.right, Or) else str(self.right)
        return f"{self.left} or {right}"


Membership = AtStore | Bought | Engaged | InCampaign | InList
Condition = Comparison | OneOf | Membership
Expression = Condition | Not | And | Or


def conditions(expression: Expression) -> list[Condition]:
    """Return the conditions of an expression, from left to right."""
    if isinstance(expression, Not):
        return conditions(expression.part)
    if isinstance(expression, And | Or):
        return [*conditions(expression.left), *conditions(expression.right)]
    return [expression]


def fields(expression: Expression) -> set[str]:
    """Return the fields that an expression compares over all time."""
    return {
        condition.field
        for condition in conditions(expression)
        if isinstance(condition, Comparison | OneOf) and condition.days is None
    }


def periods(expression: Expression) -> dict[int, set[str]]:
    """Return the fields that an expression compares within some days, by the days."""
    found: dict[int, set[str]] = {}
    for condition in conditions(expression):
        if isinstance(condition, Comparison | OneOf) and condition.days is not None:
            found.setdefault(condition.days, set()).add(condition.field)
    return found


def within(days: int | None) -> str:
    """Print a period; empty for all time."""
    return "" if days is None else f" in {days}d"


def kind_of(field: str) -> str:
    """Return the kind of a field's values; ``attribute`` for an attribute."""
    return FIELDS.get(field, "attribute")


def quote(text: str) -> str:
    """Print a text; a word that could be read otherwise gets quotes."""
    if WORD.fullmatch(text) and text.lower() not in KEYWORDS:
        return text
    return f'"{text}"' if '"' not in text else f"'{text}'"


def _quote_name(text: str) -> str:
    """Print a name; one of digits needs no quotes where no number can stand."""
    return text if re.fullmatch("[0-9]+", text) else quote(text)


def print_value(field: str, value: Value) -> str:
    """Print a value the way that its field reads it."""
    if isinstance(value, str):
        return quote(value)
    number = str(int(value)) if value == int(value) else f"{Decimal(repr(value)):f}"
    return f"{number}d" if kind_of(field) == "days" else number


def check_group_field(field: str) -> str:
    """Return a field name that can group customers."""
    name = field.strip()
    if name.lower() in FIELDS:
        name = name.lower()
    if not WORD.fullmatch(name) or (name in FIELDS and name not in (*GROUPABLE, STORE)):
        text = gettext(
            "--by is {field!r}, which does not group customers; use {groupable} or an "
            "attribute of the customers."
        )
        raise BadInput(text.format(field=field, groupable=", ".join(GROUPABLE)))
    return name
