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
    "spent": "number",
    "consent": "consent",
    "channel": "text",
    "country": "text",
    "city": "text",
}
# Fields with few values, by which customers can be grouped. The others are numbers.
GROUPABLE = ("risk", "consent", "channel", "country", "city")
SCORED = frozenset({"risk", "probability", "value"})  # fields that a sweep provides
WORD = re.compile(r"[^\W\d][\w.]*(?:-\w[\w.]*)*")

Value = str | float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compared with one value."""

    field: str
    operator: str
    value: Value

    def __str__(self) -> str:
        return f"{self.field} {self.operator} {print_value(self.field, self.value)}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A field that equals one of several values."""

    field: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        listed = ", ".join(print_value(self.field, value) for value in self.values)
        return f"{self.field} in ({listed})"


@dataclass(frozen=True, slots=True)
class Bought:
    """An order of a category, item or brand, ever or within some days."""

    kind: Literal["category", "item", "brand"]
    name: str
    days: int | None = None

    def __str__(self) -> str:
        within = "" if self.days is None else f" in {self.days}d"
        return f"bought {self.kind} {quote(self.name)}{within}"


@dataclass(frozen=True, slots=True)
class InCampaign:
    """Membership in a sent campaign, by id or name, in either group."""

    campaign: str

    def __str__(self) -> str:
        return f"in campaign {quote(self.campaign)}"


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


Condition = Comparison | OneOf | Bought | InCampaign
Expression = Condition | Not | And | Or


def conditions(expression: Expression) -> list[Condition]:
    """Return the conditions of an expression, from left to right."""
    if isinstance(expression, Not):
        return conditions(expression.part)
    if isinstance(expression, And | Or):
        return [*conditions(expression.left), *conditions(expression.right)]
    return [expression]


def fields(expression: Expression) -> set[str]:
    """Return the fields that an expression compares."""
    return {
        condition.field
        for condition in conditions(expression)
        if isinstance(condition, Comparison | OneOf)
    }


def kind_of(field: str) -> str:
    """Return the kind of a field's values; ``attribute`` for an attribute."""
    return FIELDS.get(field, "attribute")


def quote(text: str) -> str:
    """Print a text; a word that could be read otherwise gets quotes."""
    if WORD.fullmatch(text) and text.lower() not in KEYWORDS:
        return text
    return f'"{text}"' if '"' not in text else f"'{text}'"


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
    if not WORD.fullmatch(name) or (name in FIELDS and name not in GROUPABLE):
        text = gettext(
            "--by is {field!r}, which does not group customers; use {groupable} or an "
            "attribute of the customers."
        )
        raise BadInput(text.format(field=field, groupable=", ".join(GROUPABLE)))
    return name
