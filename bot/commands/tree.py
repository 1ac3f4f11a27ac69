"""Define the command tree, its commands and parameter types."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast
from zoneinfo import ZoneInfo

import click

from bot.commands.summaries import BOTH, FILES, SLACK, SUMMARIES, TERMINAL, surfaces_of
from retention import clock
from retention.errors import BadInput
from retention.progress import Progress, silent
from retention.text import gettext

if TYPE_CHECKING:  # help and suggestions need none of these, and they take half a second
    from bot.services import Services
    from retention.db import Database, Transaction
    from retention.lake import Lake
    from retention.settings import Settings
    from workers.job_requests import Request

_LOADED: dict[str, click.Command] = {}  # the top-level commands of imported files, by name
_SURFACE = "retention.surface"
_CALL = "retention.call"
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

    @property
    def settings(self) -> "Settings":
        return self.services.settings

    @property
    def database(self) -> "Database":
        return self.services.database

    @property
    def lake(self) -> "Lake":
        from retention.lake import Lake

        return Lake.open(self.settings)

    def first_time(self, session: "Transaction") -> bool:
        """Record the call in the caller's transaction. Return False for a repeat."""
        from bot.services import first_time

        return first_time(session, self.key)

    def find_customer(self, text: str) -> dict[str, str | None]:
        """Find a customer by id, pseudonym or e-mail address.

        Returns: ``customer_id``, and ``merged``: the id before a merge into another customer.
        """
        from retention.lake import customer_directory

        with self.database.reading() as session:
            customer = customer_directory.find_match(session, text)
        return {"customer_id": customer.customer_id, "merged": customer.merged}


@dataclass(frozen=True, slots=True)
class Answer:
    """An immediate answer: a template and its data.

    The template exists for Slack and for the terminal. ``failed`` is the terminal's exit status.
    """

    template: str
    data: dict[str, Any] = field(default_factory=dict)
    failed: bool = False


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
        """Return the action for a permission error. The sentence is "to … you need analyst"."""
        if self.request:
            return self.request.deed
        return gettext("use `{command}`").format(command=self.path)

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
        """Run the command in the terminal. Slack parses and never invokes."""
        return ctx.find_root().obj.run(self, dict(ctx.params))

    def handle(self, call: Call, params: dict[str, Any]) -> "Request | Answer":
        """Call the command's function.

        Dates without a zone are in the shop's zone. A day alone means its end.
        """
        zone = call.settings.zone
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

    ``default`` runs if no command is named; with ``default_takes_words``, also if a word names
    none of them.
    """

    command_class = Command

    def __init__(
        self,
        *args: Any,
        default: str | None = None,
        default_takes_words: bool = False,
        surfaces: frozenset[str] = BOTH,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"no_args_is_help": default is None, **kwargs})
        self.default = default
        self.default_takes_words = default_takes_words
        self.surfaces = surfaces

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        super().add_command(cmd, name)
        if isinstance(cmd, Command):
            cmd.path = f"{self.name} {cmd.name}"
            cmd.surfaces &= self.surfaces

    def commands_on(self, surface: str, ctx: click.Context) -> list[str]:
        """Return the names of the commands on a surface that the person's role may use."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        return [
            name
            for name, command in commands.items()
            if command and surface in getattr(command, "surfaces", ()) and _is_offered(command, ctx)
        ]

    def default_for(self, word: str) -> str | None:
        """Return the default command if it runs with this as its first word."""
        takes = not word or word.startswith("-") or self.default_takes_words
        return self.default if takes and word.lower() not in self.commands else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wants_help = args[:1] == ["--help"]
        completes = ctx.resilient_parsing  # in a shell: all the group's commands are offered
        default = self.default_for(args[0] if args else "")
        if default and not (wants_help or completes):
            args = [default, *args]
        return super().parse_args(ctx, args)


class Root(Group):
    """The command tree.

    It imports a command's file on first use. Help and suggestions import none.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUMMARIES:
            return None
        if cmd_name not in _LOADED:
            import_module(module_name(cmd_name))
        return _LOADED[cmd_name]

    def commands_on(self, surface: str, ctx: click.Context) -> list[str]:
        if offered_role(ctx) is None:
            return [name for name in SUMMARIES if surface in surfaces_of(name)]
        return super().commands_on(surface, ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - 6 - max(map(len, SUMMARIES))
        rows = [
            (name, click.Command(name, help=summary).get_short_help_str(limit))
            for name, summary in SUMMARIES.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def module_name(name: str) -> str:
    """Return the module of a top-level command. The default is its name."""
    files = (file for file, names in FILES.items() if name in names)
    return f"bot.commands.{next(files, name)}"


def _is_offered(command: click.Command, ctx: click.Context) -> bool:
    """Return whether the person's role may use a command, or any command of a group.

    True where the role is not known.
    """
    role = offered_role(ctx)
    if role is None:
        return True
    from workers.user_roles import allows  # SQLAlchemy is slow to import

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
    call = ctx.meta.get(_CALL)
    if call and _ROLE not in ctx.meta:  # asked for each command on offer, but read once
        ctx.meta[_ROLE] = call.services.role_of(call.user)
    return ctx.meta.get(_ROLE)


def slack_context(call: Call | None = None) -> click.Context:
    """Return a root context to parse a Slack command."""
    context = click.Context(root(), info_name="/retention")
    context.meta[_SURFACE] = SLACK
    context.meta[_CALL] = call
    return context


def terminal_context() -> click.Context:
    """Return a root context for the terminal's help."""
    return click.Context(root(), info_name="retention")


def context_of(path: tuple[str, ...], context: click.Context) -> click.Context:
    """Return the context of a command below a root context."""
    for name in path:
        inner = cast(Group, context.command).get_command(context, name)
        if inner is None:
            raise TypeError(f"{' '.join(path)} is no command")
        context = click.Context(inner, info_name=name, parent=context)
    return context


def command(name: str, **attributes: Any) -> "Callable[[Callable[..., Request | Answer]], Command]":
    """Return a decorator that makes a top-level `Command`; its help is its summary by default.

    `**attributes`: arguments of `Command`; see the package's documentation.
    """

    def decorate(function: "Callable[..., Request | Answer]") -> Command:
        arguments = {"help": SUMMARIES[name], "surfaces": surfaces_of(name), **attributes}
        made = click.command(name, cls=Command, **arguments)(function)
        _LOADED[name] = made
        return made

    return decorate


def group(name: str, default: str | None = None, *, default_takes_words: bool = False) -> Group:
    """Return a top-level `Group`, with its summary as help."""
    made = Group(
        name,
        help=SUMMARIES[name],
        surfaces=surfaces_of(name),
        default=default,
        default_takes_words=default_takes_words,
    )
    _LOADED[name] = made
    return made


def fields_of(row: Any, *names: str) -> dict[str, Any]:
    """Return attributes of a row for templates and ``--json``."""
    values = {name: getattr(row, name) for name in names}
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
    }


R = TypeVar("R", bound="Request")


def request(kind: type[R], **fields: Any) -> R:
    """Build a request. A validation error becomes one sentence."""
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else kind.kind
        text = gettext("{name} is {input!r}; {msg}.")
        raise BadInput(
            text.format(name=name, input=first["input"], msg=first["msg"].lower())
        ) from None
