"""Turn the command tree into data for help and documentation."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from inspect import cleandoc
from typing import Any

import click

from bot.commands.parsing import option_metavar, usage
from bot.commands.tree import (
    SLACK,
    TERMINAL,
    Command,
    Group,
    Root,
    context_of,
    slack_context,
    surface,
    terminal_context,
)
from workers import user_roles


@dataclass(frozen=True, slots=True)
class Option:
    """Description of one option or argument."""

    names: str
    help: str
    default: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Description of one command."""

    path: tuple[str, ...]
    usage: str  # for Slack, or for the terminal if Slack lacks the command
    help: str
    role: str
    surfaces: frozenset[str]
    options: tuple[Option, ...]
    terminal_options: tuple[Option, ...]  # not in Slack

    @property
    def name(self) -> str:
        return " ".join(self.path)


def entries(tree: Root, *, where: str | None = None, role: str | None = None) -> list[Entry]:
    """Return the commands of the tree."""
    context = terminal_context() if where == TERMINAL else slack_context()
    return [
        entry
        for entry in _walk(tree, context, ())
        if (where is None or where in entry.surfaces)
        and (role is None or user_roles.allows(role, entry.role))
    ]


def _walk(group: Group, context: click.Context, path: tuple[str, ...]) -> Iterator[Entry]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, Group):
            yield from _walk(command, inner, (*path, name))
        elif isinstance(command, Command):
            yield _entry(command, inner, (*path, name))


def _entry(command: Command, context: click.Context, path: tuple[str, ...]) -> Entry:
    if SLACK not in command.surfaces:
        context = context_of(path, terminal_context())
    return Entry(
        path,
        usage(command, context),
        cleandoc(command.help or ""),
        command.role,
        command.surfaces,
        tuple(_option(param, context) for param in command.own_params(surface(context))),
        tuple(
            _option(param, context)
            for param in command.params
            if getattr(param, "terminal_only", False)
        ),
    )


def _option(param: click.Parameter, context: click.Context) -> Option:
    if not isinstance(param, click.Option):
        return Option(param.make_metavar(context), "", "")
    value = "" if param.is_flag else f" {option_metavar(param, context)}"
    default = param.to_info_dict()["default"]
    has_default = isinstance(default, str | int) and not param.is_flag
    names = f"{', '.join(param.opts)}{value}"
    return Option(names, param.help or "", str(default) if has_default else "")


def as_dict(entry: Entry) -> dict[str, Any]:
    """Return an entry for templates and ``--json``."""
    first = entry.help.split("\n\n")[0].replace("\n", " ")
    return {
        "name": entry.name,
        "usage": entry.usage,
        "help": first,
        "role": entry.role,
        "options": [asdict(option) for option in entry.options],
    }
