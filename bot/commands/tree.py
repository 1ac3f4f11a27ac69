"""The classes of the command tree: commands that know their role and surfaces, and load only when they are asked for."""

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from pydantic import ValidationError
from sqlalchemy.orm import Session

from bot import numbers
from bot.services import Services, first_time
from retention.errors import BadInput
from retention.progress import Progress, silent
from retention.text import gettext
from workers import requests
from workers.requests import Request

SLACK, TERMINAL = "slack", "terminal"
BOTH = frozenset({SLACK, TERMINAL})

# In the order in which a person meets them; each is a file of this folder.
NAMES = (
    "help",
    "init",
    "import",
    "data",
    "identity",
    "retrain",
    "models",
    "evaluate",
    "score",
    "sweep",
    "cohort",
    "recommend",
    "campaign",
    "digest",
    "report",
    "jobs",
    "posts",
    "status",
    "role",
    "forget",
    "run",
    "demo",
    "db",
    "backup",
    "restore",
    "rotate-keys",
)

_SURFACE = "retention.surface"


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and where.

    ``channel`` is where results go: a channel id, a user id (their direct message), or None in the terminal.
    ``key`` is the same when Slack delivers the same command twice. ``progress`` shows in the terminal only.
    """

    services: Services
    user: str
    surface: str
    key: str
    channel: str | None = None
    progress: Progress = silent

    def first_time(self, session: Session) -> bool:
        """Whether this call has not been acted on yet; remembered with the caller's transaction."""
        return first_time(session, self.key)


@dataclass(frozen=True, slots=True)
class Answer:
    """What can be said at once: a template of ``templates/slack`` and ``templates/terminal``, and its data."""

    template: str
    data: dict[str, Any] = field(default_factory=dict)


class TerminalOption(click.Option):
    """An option of the terminal alone: a path, a URL, a way to print."""

    terminal_only = True


_JSON = TerminalOption(
    ["--json", "as_json"], is_flag=True, help="Print one JSON object and nothing else."
)
_AS = TerminalOption(
    ["--as", "as_user"], metavar="USER", default="operator", help="Act as this person."
)
_QUEUE = TerminalOption(["--queue", "to_queue"], is_flag=True, help="Hand it to the workers.")
COMMON = (_JSON, _AS, _QUEUE)


class Command(click.Command):
    """A command that says who may use it, where, and what it asks of the workers."""

    def __init__(
        self,
        *args: Any,
        role: str | None = None,
        surfaces: frozenset[str] | str = BOTH,
        request: type[Request] | None = None,
        private: bool = False,
        after: Callable[..., None] | None = None,
        starts: bool = False,
        bare: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.role = role or (request.role if request else "viewer")
        self.surfaces = frozenset({surfaces}) if isinstance(surfaces, str) else surfaces
        self.request = request
        self.private = private
        self.after = after
        self.starts = (
            starts  # processes of its own: no database is made for it, nothing printed after it
        )
        self.bare = (
            bare  # needs no database: none is made for it, and there is nobody's role to look up
        )
        self.path = self.name or ""

    @property
    def deed(self) -> str:
        """What it does, for the sentence "to … you need analyst"."""
        return self.request.deed if self.request else f"use `{self.path}`"

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if surface(ctx) == SLACK:
            return self.own_params(SLACK)
        common = () if self.starts else COMMON if self.request else COMMON[:2]
        help_option = self.get_help_option(ctx)
        return [*self.params, *common, *([help_option] if help_option else [])]

    def own_params(self, where: str) -> list[click.Parameter]:
        """The parameters it declares itself, as far as this surface has them."""
        return [
            param
            for param in self.params
            if where == TERMINAL or not getattr(param, "terminal_only", False)
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """The terminal's way in; Slack parses with ``make_context`` and never invokes."""
        return ctx.find_root().obj.run(self, dict(ctx.params))

    def handle(self, call: Call, params: dict[str, Any]) -> Request | Answer:
        """Run the command's own function. Moments that were typed without a zone are the shop's, as they are told again."""
        given = {
            name: value.replace(tzinfo=call.services.settings.zone).astimezone(UTC)
            if isinstance(value, datetime) and value.tzinfo is None
            else value
            for name, value in params.items()
        }
        return cast(Callable[..., Request | Answer], self.callback)(call, **given)


class Group(click.Group):
    """A command of commands. ``default`` is meant where none is named."""

    command_class = Command

    def __init__(
        self,
        *args: Any,
        default: str | None = None,
        surfaces: frozenset[str] | str = BOTH,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"no_args_is_help": default is None, **kwargs})
        self.default = default
        self.surfaces = frozenset({surfaces}) if isinstance(surfaces, str) else surfaces

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        super().add_command(cmd, name)
        if isinstance(cmd, Command):
            cmd.path = f"{self.name} {cmd.name}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helps = {"--help"} & set(args[:1])
        if self.default and not helps and (not args or args[0].startswith("-")):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class Root(Group):
    """The tree itself; a command's file is imported when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return import_module(module_of(cmd_name)).COMMAND if cmd_name in names() else None


def module_of(name: str) -> str:
    """The module of a command; ``import`` is a word of Python's."""
    return f"bot.commands.{name.replace('-', '_')}{'_' if name == 'import' else ''}"


@cache
def names() -> tuple[str, ...]:
    """The commands there are."""
    return tuple(name for name in NAMES if find_spec(module_of(name)))


@cache
def root() -> Root:
    """The command tree."""
    return Root(
        "retention", help="Who will lapse, why, what wins them back, and what it really earned."
    )


def surface(ctx: click.Context) -> str:
    """Where the command being parsed was typed."""
    return ctx.meta.get(_SURFACE, TERMINAL)


def slack_context() -> click.Context:
    """A root context for parsing what was typed in Slack."""
    context = click.Context(root(), info_name="/retention")
    context.meta[_SURFACE] = SLACK
    return context


def terminal_context() -> click.Context:
    """A root context as the terminal has it, for help and documentation."""
    return click.Context(root(), info_name="retention")


def command(name: str, **attributes: Any) -> Callable[[Callable[..., Request | Answer]], Command]:
    """Make a `Command` of a function; see the package's documentation."""
    return cast(Any, click.command(name, cls=Command, **attributes))


def group(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:
    """Make a `Group`."""
    return cast(Any, click.group(name, cls=Group, **attributes))


R = TypeVar("R", bound=Request)


def request(kind: type[R], **fields: Any) -> R:
    """Build a request; what its model refuses becomes one sentence.

    Raises
    ------
    BadInput
        Naming the field, the value and what was expected.
    """
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else kind.kind
        raise BadInput(
            gettext("{name} is {input!r}; {msg}.").format(
                name=name, input=first["input"], msg=first["msg"].lower()
            )
        ) from None


# ---------------------------------------------------------------- parameter types


class _Checked(click.ParamType):
    """A value read by a function that raises `BadInput`, or gives a word back as it was, where it cannot."""

    def __init__(self, name: str, check: Callable[[Any], Any], expected: str) -> None:
        self.name = name
        self.check = check
        self.expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            checked = self.check(value) if isinstance(value, str) else value
        except BadInput:
            checked = value
        if isinstance(checked, str):
            self.fail(f"{value!r} is not {self.expected}.", param, ctx)
        return (
            value if checked is None else checked
        )  # "ever" stays a word until the request reads it


class _Choice(click.Choice):
    """One of a few words; a wrong one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.choices:
            return value
        near = difflib.get_close_matches(str(value).lower(), [str(one) for one in self.choices], 1)
        listed = ", ".join(str(one) for one in self.choices)
        guess = f" Did you mean {near[0]}?" if near else ""
        self.fail(f"{value!r} is none of {listed}.{guess}", param, ctx)


class _FileToWrite(click.Path):
    """A file that the command writes: whether it can be written is found before the work, not after it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if path.is_dir():
            self.fail(f"{str(path)!r} is a folder; name a file in it.", param, ctx)
        if not path.parent.is_dir():
            self.fail(
                f"{str(path)!r} cannot be written, for there is no folder {str(path.parent)!r}; make it first, "
                "or name a file elsewhere.",
                param,
                ctx,
            )
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            self.fail(
                f"{str(path)!r} may not be written by you; name a file elsewhere.", param, ctx
            )
        return super().convert(value, param, ctx)


class _Person(click.ParamType):
    """A Slack user: ``@mention`` (which Slack sends as ``<@U123|name>``) or a user id."""

    name = "person"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        match = re.fullmatch(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>|([UW][A-Z0-9]+)", str(value))
        if not match:
            self.fail(
                f"{value!r} is no person; mention them with @ or give their Slack user id.",
                param,
                ctx,
            )
        return match[1] or match[2]


DAYS = _Checked("days", requests.days, f"{requests.SOME_DAYS}; write it like 28d or 4w")
DAYS_OR_EVER = _Checked(
    "days|ever", requests.days_or_ever, f"{requests.SOME_DAYS}; write it like 56d, or ever"
)
DURATION = _Checked("duration", requests.seconds, "a duration; write it like 90s, 5m or 1h")
MOMENT = _Checked("date", requests.moment, requests.A_DATE)
SHARE = _Checked("percent", numbers.parse_percentage, "a percentage; write it like 15 or 12.5")
MONEY = _Checked("money", numbers.parse_money, "an amount; write it like 5, 12.50 or 1200")
PERSON = _Person()
CUSTOMER = click.STRING
TO_WRITE = _FileToWrite(path_type=Path)


def whole(least: int = 1, most: int | None = None) -> click.ParamType:
    """A whole number within bounds."""
    reach = f"from {least:,} to {most:,}" if most is not None else f"of at least {least:,}"
    check = partial(numbers.parse_integer, least=least, most=2**31 - 1 if most is None else most)
    return _Checked("number", check, f"a whole number {reach}")


def between(least: float, most: float) -> click.ParamType:
    """A number within bounds."""
    check = partial(numbers.parse_number_between, least=least, most=most)
    return _Checked("number", check, f"a number from {least:g} to {most:g}")


def choice(*words: str) -> click.Choice:
    """One of these words."""
    return _Choice(words)
