"""The tree as data: what help, docs/commands.md and the manifest's usage hint are made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from bot.commands.parsing import option_metavar, usage
from bot.commands.tree import BOTH, SLACK, Command, Group, Root, slack_context
from workers import roles


@dataclass(frozen=True, slots=True)
class Option:
    """One option or argument, in words."""

    names: str
    help: str
    default: str
    terminal_only: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One command, in words."""

    path: tuple[str, ...]
    usage: str  # as Slack takes it, or as the terminal does where Slack has no such command
    help: str
    role: str
    surfaces: frozenset[str]
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        return " ".join(self.path)


def entries(tree: Root, *, surface: str | None = None, role: str | None = None) -> list[Entry]:
    """Every command of the tree, or those that a surface has and a role may use."""
    return [
        entry
        for entry in _walk(tree, slack_context(), (), BOTH)
        if (surface is None or surface in entry.surfaces) and (role is None or roles.allows(role, entry.role))
    ]


def _walk(
    group: Group, context: click.Context, path: tuple[str, ...], within: frozenset[str]
) -> Iterator[Entry]:
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        inner = click.Context(found, info_name=name, parent=context) if found else context
        if isinstance(found, Group):
            yield from _walk(found, inner, (*path, name), within & found.surfaces)
        elif isinstance(found, Command):
            surfaces = within & found.surfaces
            yield Entry(
                (*path, name),
                usage(found, inner) if SLACK in surfaces else usage(found, inner).lstrip("/"),
                (found.help or "").split("\f")[0].strip(),
                found.role,
                surfaces,
                tuple(_option(param, inner) for param in found.params),
            )


def _option(param: click.Parameter, context: click.Context) -> Option:
    terminal_only = bool(getattr(param, "terminal_only", False))
    if not isinstance(param, click.Option):
        return Option(param.make_metavar(context), "", "", terminal_only)
    value = "" if param.is_flag else f" {option_metavar(param, context)}"
    shown = param.to_info_dict()["default"]
    default = "" if param.is_flag or not isinstance(shown, str | int) else str(shown)
    return Option(f"{', '.join(param.opts)}{value}", param.help or "", default, terminal_only)


def as_dict(entry: Entry) -> dict[str, Any]:
    """For templates and ``--json``."""
    first = entry.help.split("\n\n")[0].replace("\n", " ")
    return {
        "name": entry.name, "usage": entry.usage, "help": first, "role": entry.role,
        "options": [
            {"names": option.names, "help": option.help, "default": option.default} for option in entry.options
        ],
    }  # fmt: skip
