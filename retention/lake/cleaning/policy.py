"""The cleaning policy: which rules hold, with their limits. Defaults in ``clean.toml``, a shop's own in its home."""

import re
import tomllib
from collections.abc import Collection
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from retention.errors import BadInput
from retention.lake.schema import EARLIEST, EVENTS
from retention.policy_file import in_words, not_toml, read_text, validated
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


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["quarantine", "keep"]

    @property
    def holds(self) -> bool:
        """Whether rows are set aside by it."""
        return self.action == "quarantine"


class ImpossibleDate(_Rule):
    """Events before a day are not real."""

    earliest: Annotated[date, Field(ge=EARLIEST)]


class PlaceholderCustomer(_Rule):
    """Ids (any case) that stand for everybody who has none."""

    ids: tuple[str, ...]


class TestOrder(_Rule):
    """Patterns, of the whole id in any case, of what was only tried."""

    __test__ = False  # no test, whatever pytest makes of its name

    customer: Pattern
    order: Pattern
    item: Pattern
    email: Pattern


class Bookkeeping(_Rule):
    """Item codes of the accounts, and what such lines are called."""

    item: Pattern
    title: Pattern


class NotAProduct(BaseModel):
    """Item codes of postage and the like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["mark", "keep"]
    item: Pattern


class Near(_Rule):
    """How near in time two equal things are one."""

    seconds: Seconds


class NearDuplicate(Near):
    """How near in time and amount two lines of one order are one."""

    order_seconds: Annotated[float, Field(ge=0, le=600)]
    amount: Annotated[float, Field(ge=0)]
    share: Annotated[float, Field(ge=0, le=0.1)]


class Bot(_Rule):
    """So many events in an hour, and so many a second, are no person's."""

    events: Annotated[int, Field(ge=2)]
    per_second: Annotated[float, Field(gt=0)]


class Price(_Rule):
    """When a unit price is none of this item's."""

    observations: Annotated[int, Field(ge=5)]
    factor: Annotated[float, Field(gt=1)]
    z: Annotated[float, Field(gt=0)]
    most_share: Annotated[float, Field(gt=0, le=0.5)]


class Missing(BaseModel):
    """Columns that a shop wants every event to have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...]

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in columns if name not in EVENTS.names]:
            raise ValueError(f"events have no column {unknown[0]!r}")
        return columns


class CleanPolicy(BaseModel):
    """Every rule, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    impossible_date: ImpossibleDate
    placeholder_customer: PlaceholderCustomer
    test_order: TestOrder
    bookkeeping: Bookkeeping
    not_a_product: NotAProduct
    negative: _Rule
    nothing_paid: _Rule
    order_twice: Near
    near_duplicate: NearDuplicate
    bot: Bot
    price: Price
    missing: Missing


def load_clean_policy(settings: Settings) -> CleanPolicy:
    """The defaults, with the keys that the shop's ``clean.toml`` in its home replaces.

    Raises
    ------
    BadInput
        Where the shop's file is no TOML, or names a rule, key or value that does not exist.
    """
    rules = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))
    own = settings.home / NAME
    if own.is_file():
        for name, keys in _read(own).items():
            if name not in rules:
                raise BadInput(
                    gettext("{own} has a rule [{name}]; {nearest}").format(
                        own=own, name=name, nearest=_nearest(name, rules)
                    )
                )
            if not isinstance(keys, dict):
                raise BadInput(
                    gettext(
                        "{own} {name}: {keys!r} is no rule; write [{name}] and its keys below it."
                    ).format(own=own, name=name, keys=keys)
                )
            if unknown := [key for key in keys if key not in rules[name]]:
                raise BadInput(
                    gettext("{own} [{name}] has a key {unknown!r}; {nearest}").format(
                        own=own,
                        name=name,
                        unknown=unknown[0],
                        nearest=_nearest(unknown[0], rules[name]),
                    )
                )
            rules[name] = {**rules[name], **keys}
    try:
        return validated(CleanPolicy, rules)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        raise BadInput(
            gettext("{own} {where} is {input!r}; {in_words}.").format(
                own=own, where=where, input=first["input"], in_words=in_words(first)
            )
        ) from None


def _nearest(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.lower(), known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text := read_text(path))
    except UnicodeDecodeError as error:
        raise BadInput(
            gettext("{path} is not TOML: {error}.").format(path=path, error=error)
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(
            gettext("{path} is not TOML: {not_toml}.").format(
                path=path, not_toml=not_toml(error, text)
            )
        ) from None
