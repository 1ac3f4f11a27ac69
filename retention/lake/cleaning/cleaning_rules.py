"""Load the cleaning rules from ``clean.toml``, not from the policy file.

The package has the defaults. A ``clean.toml`` in the shop's home replaces single keys.
"""

import re
import tomllib
from collections.abc import Collection
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from retention.errors import BadInput
from retention.lake.importing.mapping import literal
from retention.lake.lake import Lake
from retention.lake.schema import EARLIEST, EVENTS
from retention.policy_file import explain_error, explain_toml_error, read_text, validate_strictly
from retention.settings import Settings
from retention.text import gettext

DEFAULT = Path(__file__).with_name("clean.toml")
NAME = "clean.toml"


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression ({error})") from None
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rule(_Strict):
    action: Literal["quarantine", "keep"]

    @property
    def is_active(self) -> bool:
        """Whether the rule quarantines rows."""
        return self.action == "quarantine"


class ImpossibleDate(_Rule):
    """Events before a day are impossible."""

    earliest: Annotated[date, Field(ge=EARLIEST)]


class PlaceholderCustomer(_Rule):
    """Customer ids, in any case, that mean "no customer"."""

    ids: tuple[str, ...]


class TestOrder(_Rule):
    """Patterns of whole ids of tests, in any case."""

    __test__ = False  # pytest must not collect it

    customer: Pattern
    order: Pattern
    item: Pattern
    email: Pattern


class Bookkeeping(_Rule):
    """Item codes and titles of bookkeeping lines."""

    item: Pattern
    title: Pattern


class NotAProduct(_Strict):
    """Item codes of postage and the like."""

    action: Literal["mark", "keep"]
    item: Pattern


class OrderTwice(_Rule):
    """Largest time between equal orders counted as one."""

    seconds: Seconds


class NearDuplicate(OrderTwice):
    """Largest differences of time and amount between lines counted as one.

    See ``clean.toml`` for each key.
    """

    order_seconds: Annotated[float, Field(ge=0, le=600)]
    amount: Annotated[float, Field(ge=0)]
    share: Annotated[float, Field(ge=0, le=0.1)]


class Bot(_Rule):
    """Browsing of one customer in one hour that no person makes.

    It has at least ``events`` events, and more than ``per_second``.
    """

    events: Annotated[int, Field(ge=2)]
    per_second: Annotated[float, Field(gt=0)]


class Price(_Rule):
    """Limits of an item's unit price."""

    observations: Annotated[int, Field(ge=5)]
    factor: Annotated[float, Field(gt=1)]
    z: Annotated[float, Field(gt=0)]
    most_share: Annotated[float, Field(gt=0, le=0.5)]


class Missing(_Strict):
    """Columns that the shop requires of every event."""

    columns: tuple[str, ...]

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in columns if name not in EVENTS.names]:
            raise ValueError(f"events have no column {unknown[0]!r}")
        return columns


class CleanPolicy(_Strict):
    """All rules, by name."""

    impossible_date: ImpossibleDate
    placeholder_customer: PlaceholderCustomer
    test_order: TestOrder
    bookkeeping: Bookkeeping
    not_a_product: NotAProduct
    negative: _Rule
    nothing_paid: _Rule
    order_twice: OrderTwice
    near_duplicate: NearDuplicate
    bot: Bot
    price: Price
    missing: Missing


def load_clean_policy(settings: Settings) -> CleanPolicy:
    """Load the defaults and the shop's changes to them."""
    rules = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))
    own = settings.home / NAME
    if own.is_file():
        for name, keys in _read(own).items():
            if name not in rules:
                text = gettext("{own} has a rule [{name}]; {nearest}")
                raise BadInput(text.format(own=own, name=name, nearest=_nearest(name, rules)))
            if not isinstance(keys, dict):
                text = gettext(
                    "{own} {name}: {keys!r} is no rule; write [{name}] and its keys below it."
                )
                raise BadInput(text.format(own=own, name=name, keys=keys))
            if unknown := [key for key in keys if key not in rules[name]]:
                nearest = _nearest(unknown[0], rules[name])
                text = gettext("{own} [{name}] has a key {unknown!r}; {nearest}")
                raise BadInput(text.format(own=own, name=name, unknown=unknown[0], nearest=nearest))
            rules[name] = {**rules[name], **keys}
    try:
        return validate_strictly(CleanPolicy, rules)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        message = gettext("{own} {where} is {input!r}; {explanation}.").format(
            own=own, where=where, input=first["input"], explanation=explain_error(first)
        )
        raise BadInput(message) from None


def _nearest(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.lower(), known, 1)
    if near:
        return gettext("did you mean {name}?").format(name=near[0])
    return gettext("there are {names}.").format(names=", ".join(known))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text := read_text(path))
    except UnicodeDecodeError as error:
        message = gettext("{path} is not TOML: {error}.")
        raise BadInput(message.format(path=path, error=error)) from None
    except tomllib.TOMLDecodeError as error:
        message = gettext("{path} is not TOML: {explanation}.")
        explanation = explain_toml_error(error, text)
        raise BadInput(message.format(path=path, explanation=explanation)) from None


NOT_RECOMMENDABLE = {"recommendable": False}


def find_non_products(lake: Lake, relation: str, policy: CleanPolicy) -> set[str]:
    """Return new item codes that are not products.

    Codes that start with a digit, or already have an item row, are ignored.

    Returns: empty if the rule is off.
    """
    if policy.not_a_product.action != "mark":
        return set()
    known = lake.table("items").get_name()
    rows = lake.duckdb.execute(
        f"SELECT item_id FROM (SELECT DISTINCT item_id FROM {relation} "  # noqa: S608 - quoted names
        "WHERE item_id >= ':') "
        f"WHERE regexp_full_match(item_id, {literal(policy.not_a_product.item)}, 'i') "
        f'AND item_id NOT IN (SELECT item_id FROM "{known}") ORDER BY 1'
    ).fetchall()
    return {code for (code,) in rows}


def mark_non_products(lake: Lake, codes: set[str]) -> None:
    """Add the codes to the items as not recommendable.

    `codes`: item ids, from `find_non_products`.
    """
    import pandas as pd

    if codes:
        columns = {"item_id": sorted(codes), "attributes": [NOT_RECOMMENDABLE] * len(codes)}
        lake.upsert("items", pd.DataFrame(columns))
