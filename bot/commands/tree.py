"""Define the command tree, its commands and parameter types."""

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from zoneinfo import ZoneInfo

import click

from bot import numbers
from bot.commands.summaries import BOTH, SLACK, SUMMARIES, TERMINAL
from retention import clock
from retention.errors import BadInput
from retention.progress import Progress, silent
from retention.text import gettext
from workers import times

if TYPE_CHECKING:  # help and suggestions need none of these, and they take half a second
    from sqlalchemy.orm import Session

    from bot.services import Services
    from workers.requests import Request

_SURFACE = "retention.surface"
_ROLE = "retention.role"


@dataclass(frozen=True, slots=True)
class Call:
    """Person, place and services of a command.

    ``channel`` receives the results: a channel id, a user id (their direct message), or None in the
    terminal. ``key`` is equal for repeated deliveries of one Slack command. ``progress`` shows only
    in the terminal.
    """

    services: "Services"
    user: str
    surface: str
    key: str
    channel: str | None = None
    progress: Progress = silent

    def first_time(self, session: "Session") -> bool:
        """Record the call in the caller's transaction.

        Return False for a repeat.
        """
        from bot.services import first_time

        return first_time(session, self.key)


@dataclass(frozen=True, slots=True)
class Answer:
    """An immediate answer: a template and its data.

    The template exists for Slack and for the terminal.
    """

    template: str
    data: dict[str, Any] = field(default_factory=dict)


class TerminalOption(click.Option):
    """An option that Slack does not offer.

    It takes a path or a URL, or changes the output format.
    """

    terminal_only = True


_JSON = TerminalOption(
    ["--json", "as_json"], is_flag=True, help=gettext("Print one JSON object and nothing else.")
)
_AS = TerminalOption(
    ["--as", "as_user"], metavar="USER", default="operator", help=gettext("Act as this person.")
)
_QUEUE = TerminalOption(
    ["--queue", "to_queue"], is_flag=True, help=gettext("Hand it to the workers.")
)
COMMON_OPTIONS = (_JSON, _AS, _QUEUE)


class Command(click.Command):
    """A command with its role, surfaces and request."""

    def __init__(
        self,
        *args: Any,
        role: str | None = None,
        surfaces: frozenset[str] | str = BOTH,
        request: "type[Request] | None" = None,
        private: bool = False,
        after: Callable[..., None] | None = None,
        starts_processes: bool = False,
        without_database: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.role = role or (request.role if request else "viewer")
        self.surfaces = frozenset({surfaces}) if isinstance(surfaces, str) else surfaces
        self.request = request
        self.private = private
        self.after = after
        self.starts_processes = starts_processes  # creates no database and prints no result
        self.without_database = without_database  # creates none and checks no role
        self.path = self.name or ""

    @property
    def deed(self) -> str:
        """Return the action for a permission error.

        The sentence is "to … you need analyst".
        """
        return (
            self.request.deed
            if self.request
            else gettext("use `{command}`").format(command=self.path)
        )

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if surface(ctx) == SLACK:
            return self.own_params(SLACK)
        common: tuple[click.Option, ...] = ()
        if not self.starts_processes:
            common = COMMON_OPTIONS if self.request else COMMON_OPTIONS[:2]
        help_option = self.get_help_option(ctx)
        return [*self.params, *common, *([help_option] if help_option else [])]

    def own_params(self, where: str) -> list[click.Parameter]:
        """Return the command's own parameters on a surface."""
        return [
            param
            for param in self.params
            if where == TERMINAL or not getattr(param, "terminal_only", False)
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command in the terminal.

        Slack parses and never invokes.
        """
        return ctx.find_root().obj.run(self, dict(ctx.params))

    def handle(self, call: Call, params: dict[str, Any]) -> "Request | Answer":
        """Call the command's function.

        Dates without a zone are in the shop's zone. A day alone means its end.

        Parameters
        ----------
        call : Call
            Person, place and services.
        params : dict
            The parsed parameters.

        Returns
        -------
        Request or Answer
        """
        zone = call.services.settings.zone
        values = {name: _by_shop_clock(value, zone) for name, value in params.items()}
        return cast("Callable[..., Request | Answer]", self.callback)(call, **values)


def _by_shop_clock(value: Any, zone: ZoneInfo) -> Any:
    """Convert a time without a zone, or the end of a day, to UTC.

    The end of a day is its last microsecond, so that it is shown as that day. The end of today is
    now.
    """
    if isinstance(value, datetime):
        return value.replace(tzinfo=zone).astimezone(UTC) if value.tzinfo is None else value
    if not isinstance(value, date):
        return value
    start = datetime.combine(value, time(), zone).astimezone(UTC)
    end = datetime.combine(value + timedelta(days=1), time(), zone).astimezone(UTC)
    now = clock.now()
    return now if start <= now < end else end - timedelta(microseconds=1)


class Group(click.Group):
    """A group of commands.

    ``default`` runs if no command is named.
    """

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

    def commands_on(self, surface: str, ctx: click.Context) -> list[str]:
        """Return the names of the commands on a surface that the person's role may use."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        return [
            name
            for name, command in commands.items()
            if command and surface in getattr(command, "surfaces", ()) and _is_offered(command, ctx)
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wants_help = args[:1] == ["--help"]
        completes = ctx.resilient_parsing  # in a shell: all the group's commands are offered
        if self.default and not (wants_help or completes) and (not args or args[0].startswith("-")):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class Root(Group):
    """The command tree.

    It imports a command's file on first use. Help and suggestions import none.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return import_module(module_name(cmd_name)).COMMAND if cmd_name in SUMMARIES else None

    def commands_on(self, surface: str, ctx: click.Context) -> list[str]:
        names = [name for name, summary in SUMMARIES.items() if surface in summary.surfaces]
        if offered_role(ctx) is None:
            return names
        commands = {name: self.get_command(ctx, name) for name in names}
        return [name for name, command in commands.items() if command and _is_offered(command, ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - 6 - max(map(len, SUMMARIES))
        rows = [
            (name, click.Command(name, help=summary.help).get_short_help_str(limit))
            for name, summary in SUMMARIES.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def module_name(name: str) -> str:
    """Return the module of a command.

    ``import`` is a Python keyword.
    """
    return f"bot.commands.{name.replace('-', '_')}{'_' if name == 'import' else ''}"


def _is_offered(command: click.Command, ctx: click.Context) -> bool:
    """Return whether the person's role may use a command, or any command of a group.

    True where the role is not known.
    """
    role = offered_role(ctx)
    if role is None:
        return True
    from workers.roles import allows  # SQLAlchemy is slow to import

    if isinstance(command, Group):
        inner = (command.get_command(ctx, name) for name in command.list_commands(ctx))
        return any(_is_offered(each, ctx) for each in inner if each)
    return isinstance(command, Command) and allows(role, command.role)


@cache
def root() -> Root:
    """Return the command tree."""
    return Root(
        "retention",
        help=gettext("Who will lapse, why, what wins them back, and what it really earned."),
    )


def surface(ctx: click.Context) -> str:
    """Return the surface of the command being parsed."""
    return ctx.meta.get(_SURFACE, TERMINAL)


def offered_role(ctx: click.Context) -> str | None:
    """Return the role whose commands an error may offer; None offers all."""
    role = ctx.meta.get(_ROLE)
    return role() if role else None


def slack_context(role: Callable[[], str] | None = None) -> click.Context:
    """Return a root context to parse a Slack command.

    Parameters
    ----------
    role : callable, optional
        Returns the person's role. It is called only for an error.
    """
    context = click.Context(root(), info_name="/retention")
    context.meta[_SURFACE] = SLACK
    context.meta[_ROLE] = role
    return context


def terminal_context() -> click.Context:
    """Return a root context for the terminal's help."""
    return click.Context(root(), info_name="retention")


def command(name: str, **attributes: Any) -> "Callable[[Callable[..., Request | Answer]], Command]":
    """Return a decorator that makes a `Command`.

    Parameters
    ----------
    name : str
        The command's name.
    **attributes
        Arguments of `Command`; see the package's documentation.
    """
    return cast(Any, click.command(name, cls=Command, **attributes))


def group(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:
    """Return a decorator that makes a `Group`.

    Parameters
    ----------
    name : str
        The group's name.
    **attributes
        Arguments of `Group`.
    """
    return cast(Any, click.group(name, cls=Group, **attributes))


R = TypeVar("R", bound="Request")


def request(kind: type[R], **fields: Any) -> R:
    """Build a request.

    A validation error becomes one sentence.

    Parameters
    ----------
    kind : type
        Class of the request.
    **fields
        Its fields; None means the default.

    Returns
    -------
    Request

    Raises
    ------
    BadInput
        A field is invalid. The message names the field, the value and the expectation.
    """
    from pydantic import ValidationError

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
    """One of a few words.

    An error suggests the nearest.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.choices:
            return value
        choices = [str(word) for word in self.choices]
        nearest = difflib.get_close_matches(str(value).lower(), choices, 1)
        message = (
            gettext("{value!r} is none of {choices}. Did you mean {nearest}?")
            if nearest
            else gettext("{value!r} is none of {choices}.")
        )
        self.fail(
            message.format(value=value, choices=", ".join(choices), nearest="".join(nearest)),
            param,
            ctx,
        )


class _FileToWrite(click.Path):
    """A file to write.

    A missing permission is an error before the work starts.
    """

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
    """A Slack user, by mention or user id.

    Slack sends ``@mention`` as ``<@U123|name>``.
    """

    name = "person"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        match = re.fullmatch(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>|([UW][A-Z0-9]+)", str(value))
        if not match:
            message = gettext(
                "{value!r} is no person; mention them with @ or give their Slack user id."
            )
            self.fail(message.format(value=value), param, ctx)
        return match[1] or match[2]


DAYS = _ParsedType(
    "days",
    times.days,
    gettext("{days}; write it like 28d or 4w").format(days=times.SOME_DAYS),
)
DAYS_OR_EVER = _ParsedType(
    "days|ever",
    times.days_or_ever,
    gettext("{days}; write it like 56d, or ever").format(days=times.SOME_DAYS),
)
DURATION = _ParsedType(
    "duration", times.seconds, gettext("a duration; write it like 90s, 5m or 1h")
)
DATE = _ParsedType("date", times.moment, times.A_DATE)
DAY_OR_TIME = _ParsedType("date", times.day_or_moment, times.A_DATE)
PERCENTAGE = _ParsedType(
    "percent", numbers.parse_percentage, gettext("a percentage; write it like 15 or 12.5")
)
MONEY = _ParsedType(
    "money", numbers.parse_money, gettext("an amount; write it like 5, 12.50 or 1200")
)
PERSON = _Person()
CUSTOMER = click.STRING
TO_WRITE = _FileToWrite(path_type=Path)
# Options that define churn.
HORIZON = click.option(
    "--horizon",
    type=DAYS,
    help=gettext("Churn means: no order for so long; by default as `definition` shows."),
)
ACTIVE_WITHIN = click.option(
    "--active-within",
    type=DAYS_OR_EVER,
    help=gettext("Only who ordered so recently, or ever; by default as `definition` shows."),
)

AUDIENCE = click.option(
    "--audience", metavar="NAME", help=gettext("Only customers of this saved audience.")
)
WHERE = click.option(
    "--where",
    metavar="CONDITION",
    help=gettext(
        'Only customers of a condition, as in `audience save`. Example: --where "city = Berlin"'
    ),
)
AS_OF = click.option(
    "--as-of",
    type=DAY_OR_TIME,
    metavar="DATE",
    help=gettext("As the data stood at the end of that day; by default now."),
)


def integer(least: int = 1, most: int | None = None) -> click.ParamType:
    """Return the type of a whole number within bounds.

    Parameters
    ----------
    least : int
        Smallest allowed value.
    most : int, optional
        Largest allowed value.

    Returns
    -------
    ParamType
    """
    expected = (
        gettext("a whole number of at least {least:,}")
        if most is None
        else gettext("a whole number from {least:,} to {most:,}")
    )
    parse = partial(numbers.parse_integer, least=least, most=2**31 - 1 if most is None else most)
    return _ParsedType("number", parse, expected.format(least=least, most=most))


def number_between(least: float, most: float) -> click.ParamType:
    """Return the type of a number within bounds.

    Parameters
    ----------
    least, most : float
        Smallest and largest allowed value.

    Returns
    -------
    ParamType
    """
    parse = partial(numbers.parse_number_between, least=least, most=most)
    expected = gettext("a number from {least:g} to {most:g}").format(least=least, most=most)
    return _ParsedType("number", parse, expected)


def find_customer(services: "Services", text: str) -> dict[str, str | None]:
    """Find a customer by id, pseudonym or e-mail address.

    Parameters
    ----------
    services : Services
        The installation's services.
    text : str
        The id, pseudonym or address.

    Returns
    -------
    dict
        ``customer_id``, and ``merged``: the id before a merge into another customer.

    Raises
    ------
    BadInput
        No customer matches. The message names the nearest.
    """
    from retention.lake import customer_directory

    with services.database.reading() as session:
        customer = customer_directory.find_match(session, services.settings, text)
    return {"customer_id": customer.customer_id, "merged": customer.merged}


def choice(*words: str) -> click.Choice:
    """Return the type of a choice between words."""
    return _Choice(words)
