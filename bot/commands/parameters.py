"""Parameter types of commands, and the options that several commands have."""

import difflib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from bot import numbers
from bot.commands.tree import Call, R, TerminalOption, request
from retention.errors import BadInput
from retention.text import gettext
from workers import typed_times


class _ParsedType(click.ParamType):
    """A value that a function parses.

    The function raises `BadInput` or returns a str on failure.
    """

    def __init__(self, name: str, parse: Callable[[Any], Any], expected: str) -> None:
        self.name = name
        self.parse = parse
        self.expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            parsed = self.parse(value) if isinstance(value, str) else value
        except BadInput:
            parsed = value
        if isinstance(parsed, str):
            message = gettext("{value!r} is not {expected}.")
            self.fail(message.format(value=value, expected=self.expected), param, ctx)
        return value if parsed is None else parsed  # the request itself parses "ever"


class _Choice(click.Choice):
    """One of a few words. An error suggests the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.choices:
            return value
        choices = [str(word) for word in self.choices]
        nearest = difflib.get_close_matches(str(value).lower(), choices, 1)
        if nearest:
            message = gettext("{value!r} is none of {choices}. Did you mean {nearest}?")
        else:
            message = gettext("{value!r} is none of {choices}.")
        self.fail(
            message.format(value=value, choices=", ".join(choices), nearest="".join(nearest)),
            param,
            ctx,
        )


class _FileToWrite(click.Path):
    """A file to write. A missing permission is an error before the work starts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if path.is_dir():
            message = gettext("{path!r} is a folder; name a file in it.")
            self.fail(message.format(path=str(path)), param, ctx)
        if not path.parent.is_dir():
            message = gettext(
                "{path!r} cannot be written, for there is no folder {folder!r}; make it first, "
                "or name a file elsewhere."
            )
            self.fail(message.format(path=str(path), folder=str(path.parent)), param, ctx)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            message = gettext("{path!r} may not be written by you; name a file elsewhere.")
            self.fail(message.format(path=str(path)), param, ctx)
        return super().convert(value, param, ctx)


class _Person(click.ParamType):
    """A Slack user, by mention or user id. Slack sends ``@mention`` as ``<@U123|name>``."""

    name = "person"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        match = re.fullmatch(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>|([UW][A-Z0-9]+)", str(value))
        if not match:
            message = gettext(
                "{value!r} is no person; mention them with @ or give their Slack user id."
            )
            self.fail(message.format(value=value), param, ctx)
        return match[1] or match[2]


def option(
    flag: str,
    help: str,
    kind: Any = None,
    metavar: str | None = None,
    *,
    into: str | None = None,
    **attributes: Any,
) -> Callable[[Any], Any]:
    """Return the decorator of an option.

    `kind`: the type of its value. `into`: the name of the function's parameter.
    """
    names = (flag, into) if into else (flag,)
    return click.option(*names, type=kind, metavar=metavar, help=help, **attributes)


def switch(
    flag: str, help: str, *, into: str | None = None, **attributes: Any
) -> Callable[[Any], Any]:
    """Return the decorator of an option without a value."""
    return option(flag, help, into=into, is_flag=True, **attributes)


def choice(*words: str) -> click.Choice:
    """Return the type of a choice between words."""
    return _Choice(words)


DAYS = _ParsedType(
    "days",
    typed_times.days,
    gettext("{days}; write it like 28d or 4w").format(days=typed_times.SOME_DAYS),
)
DAYS_OR_EVER = _ParsedType(
    "days|ever",
    typed_times.days_or_ever,
    gettext("{days}; write it like 56d, or ever").format(days=typed_times.SOME_DAYS),
)
DURATION = _ParsedType(
    "duration", typed_times.seconds, gettext("a duration; write it like 90s, 5m or 1h")
)
DATE = _ParsedType("date", typed_times.moment, typed_times.A_DATE)
DAY_OR_TIME = _ParsedType("date", typed_times.day_or_moment, typed_times.A_DATE)
PERCENTAGE = _ParsedType(
    "percent", numbers.parse_percentage, gettext("a percentage; write it like 15 or 12.5")
)
MONEY = _ParsedType(
    "money", numbers.parse_money, gettext("an amount; write it like 5, 12.50 or 1200")
)
PERSON = _Person()
CUSTOMER = click.STRING
TO_READ, TO_WRITE = click.Path(path_type=Path), _FileToWrite(path_type=Path)
# Options that define churn.
HORIZON = option(
    "--horizon",
    gettext("Churn means: no order for so long; by default as `definition` shows."),
    DAYS,
)
ACTIVE_WITHIN = option(
    "--active-within",
    gettext("Only who ordered so recently, or ever; by default as `definition` shows."),
    DAYS_OR_EVER,
)

AUDIENCE = option("--audience", gettext("Only customers of this saved audience."), metavar="NAME")
WHERE = option(
    "--where",
    gettext(
        'Only customers of a condition, as in `audience save`. Example: --where "city = Berlin"'
    ),
    metavar="CONDITION",
)
AS_OF = option(
    "--as-of",
    gettext("As the data stood at the end of that day; by default now."),
    DAY_OR_TIME,
    "DATE",
)


def integer(least: int = 1, most: int | None = None) -> click.ParamType:
    """Return the type of a whole number within bounds."""
    if most is None:
        expected = gettext("a whole number of at least {least:,}")
    else:
        expected = gettext("a whole number from {least:,} to {most:,}")
    parse = partial(numbers.parse_integer, least=least, most=2**31 - 1 if most is None else most)
    return _ParsedType("number", parse, expected.format(least=least, most=most))


def number_between(least: float, most: float) -> click.ParamType:
    """Return the type of a number within bounds."""
    parse = partial(numbers.parse_number_between, least=least, most=most)
    expected = gettext("a number from {least:g} to {most:g}").format(least=least, most=most)
    return _ParsedType("number", parse, expected)


def map_option(help: str) -> Callable[[Any], Any]:
    """Return the option of the file that says what the columns mean."""
    return option("--map", help, TO_READ, "MAP.toml", into="map_path")


def html_option(help: str) -> Callable[[Any], Any]:
    """Return the option of the page to write."""
    return option("--html", help, TO_WRITE, "FILE", cls=TerminalOption)


def list_length(flag: str, most: int, help: str) -> Callable[[Any], Any]:
    """Return the option of a list's length."""
    return option(flag, help, integer(1, most), "N", default=10)


def scoped_request(
    call: Call, kind: type[R], audience: str | None, where: str | None, **fields: Any
) -> R:
    """Build a request about the customers of an audience, a condition, or all."""
    from workers.customers.audience_filter import check_condition, check_exists

    audience = check_exists(call.database, audience)
    return request(kind, audience=audience, where=check_condition(where), **fields)
