"""Turn the command tree into data for help and documentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, cast

import click

from bot.commands.parsing import option_metavar, usage
from bot.commands.tree import (
    BOTH,
    SLACK,
    TERMINAL,
    Command,
    Group,
    Root,
    slack_context,
    surface,
    terminal_context,
)
from workers import roles


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
    """Return the commands of the tree.

    Parameters
    ----------
    tree : Root
        The command tree.
    where : str, optional
        Only the commands of a surface, with its usage.
    role : str, optional
        Only the commands that a role may use.

    Returns
    -------
    list of Entry
    """
    context = terminal_context() if where == TERMINAL else slack_context()
    return [
        entry
        for entry in _walk(tree, context, (), BOTH)
        if (where is None or where in entry.surfaces)
        and (role is None or roles.allows(role, entry.role))
    ]


def _walk(
    group: Group, context: click.Context, path: tuple[str, ...], surfaces: frozenset[str]
) -> Iterator[Entry]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, Group):
            inner = click.Context(command, info_name=name, parent=context)
            yield from _walk(command, inner, (*path, name), surfaces & command.surfaces)
        elif isinstance(command, Command):
            yield _entry(
                command,
                click.Context(command, info_name=name, parent=context),
                (*path, name),
                surfaces,
            )


def _entry(
    command: Command, context: click.Context, path: tuple[str, ...], surfaces: frozenset[str]
) -> Entry:
    surfaces &= command.surfaces
    if SLACK not in surfaces:
        context = _terminal_context(command, path)
    return Entry(
        path,
        usage(command, context),
        cleandoc(command.help or ""),
        command.role,
        surfaces,
        tuple(_option(param, context) for param in command.own_params(surface(context))),
        tuple(
            _option(param, context)
            for param in command.params
            if getattr(param, "terminal_only", False)
        ),
    )


def _terminal_context(command: Command, path: tuple[str, ...]) -> click.Context:
    context = terminal_context()
    for name in path[:-1]:
        context = click.Context(
            cast(Group, context.command).get_command(context, name) or command,
            info_name=name,
            parent=context,
        )
    return click.Context(command, info_name=path[-1], parent=context)


def _option(param: click.Parameter, context: click.Context) -> Option:
    if not isinstance(param, click.Option):
        return Option(param.make_metavar(context), "", "")
    value = "" if param.is_flag else f" {option_metavar(param, context)}"
    value_default = param.to_info_dict()["default"]
    default = (
        "" if param.is_flag or not isinstance(value_default, str | int) else str(value_default)
    )
    return Option(f"{', '.join(param.opts)}{value}", param.help or "", default)


def as_dict(entry: Entry) -> dict[str, Any]:
    """Return an entry for templates and ``--json``."""
    first = entry.help.split("\n\n")[0].replace("\n", " ")
    return {
        "name": entry.name,
        "usage": entry.usage,
        "help": first,
        "role": entry.role,
        "options": [
            {"names": option.names, "help": option.help, "default": option.default}
            for option in entry.options
        ],
    }
