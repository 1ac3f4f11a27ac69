"""The tree as data: what help, docs/commands.md and the manifest's usage hint are made from."""

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
    """One option or argument, in words."""

    names: str
    help: str
    default: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One command, in words."""

    path: tuple[str, ...]
    usage: str  # as Slack takes it, or as the terminal does where Slack has no such command
    help: str
    role: str
    surfaces: frozenset[str]
    options: tuple[Option, ...]
    terminal_options: tuple[Option, ...]  # those that Slack has not

    @property
    def name(self) -> str:
        return " ".join(self.path)


def entries(tree: Root, *, where: str | None = None, role: str | None = None) -> list[Entry]:
    """Every command of the tree, or those that a surface has and a role may use, as that surface takes them."""
    context = terminal_context() if where == TERMINAL else slack_context()
    return [
        entry
        for entry in _walk(tree, context, (), BOTH)
        if (where is None or where in entry.surfaces)
        and (role is None or roles.allows(role, entry.role))
    ]


def _walk(
    group: Group, context: click.Context, path: tuple[str, ...], within: frozenset[str]
) -> Iterator[Entry]:
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, Group):
            inner = click.Context(found, info_name=name, parent=context)
            yield from _walk(found, inner, (*path, name), within & found.surfaces)
        elif isinstance(found, Command):
            yield _entry(
                found, click.Context(found, info_name=name, parent=context), (*path, name), within
            )


def _entry(
    found: Command, context: click.Context, path: tuple[str, ...], within: frozenset[str]
) -> Entry:
    surfaces = within & found.surfaces
    if SLACK not in surfaces:
        context = _in_the_terminal(found, path)
    return Entry(
        path,
        usage(found, context),
        cleandoc(found.help or ""),
        found.role,
        surfaces,
        tuple(_option(param, context) for param in found.own_params(surface(context))),
        tuple(
            _option(param, context)
            for param in found.params
            if getattr(param, "terminal_only", False)
        ),
    )


def _in_the_terminal(found: Command, path: tuple[str, ...]) -> click.Context:
    context = terminal_context()
    for name in path[:-1]:
        context = click.Context(
            cast(Group, context.command).get_command(context, name) or found,
            info_name=name,
            parent=context,
        )
    return click.Context(found, info_name=path[-1], parent=context)


def _option(param: click.Parameter, context: click.Context) -> Option:
    if not isinstance(param, click.Option):
        return Option(param.make_metavar(context), "", "")
    value = "" if param.is_flag else f" {option_metavar(param, context)}"
    shown = param.to_info_dict()["default"]
    default = "" if param.is_flag or not isinstance(shown, str | int) else str(shown)
    return Option(f"{', '.join(param.opts)}{value}", param.help or "", default)


def as_dict(entry: Entry) -> dict[str, Any]:
    """For templates and ``--json``."""
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
