"""From words to a command and its parameters, by Click's own parser; nothing is invoked, prompted for or printed."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from bot.commands.tree import SLACK, Command, Group, slack_context, surface
from bot.commands.words import split
from retention.errors import BadInput


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command of the tree, and what was given to it."""

    command: Command
    params: dict[str, Any]


def parse(text: str) -> Parsed:
    """Read what was typed after ``/retention``.

    Raises
    ------
    BadInput
        One sentence: what is not understood, and the nearest thing that is.
    """
    words: Sequence[str] = split(text) or ["help"]
    if "--help" in words:
        words = ["help", *(word for word in words if not word.startswith("-"))]
    context = slack_context()
    node: click.Command = context.command
    while isinstance(node, Group):
        node, words, context = _descend(node, words, context)
    if not isinstance(node, Command):
        raise TypeError(f"{context.command_path} is neither a Command nor a Group")
    try:
        with node.make_context(context.info_name, list(words), parent=context.parent) as made:
            return Parsed(node, dict(made.params))
    except click.UsageError as error:
        raise BadInput(sentence(error, node, context)) from None


def _descend(
    group: Group, words: Sequence[str], context: click.Context
) -> tuple[click.Command, Sequence[str], click.Context]:
    """One step down the tree, to the command that the first word names."""
    word = words[0] if words else ""
    found = group.get_command(context, word.lower()) if word else None
    if found is None and group.default and (not word or word.startswith("-")):
        words = [group.default, *words]
        found = group.get_command(context, group.default)
    if found is None or SLACK not in found.surfaces:  # type: ignore[attr-defined]
        raise BadInput(_no_such(group, word, context, exists=found is not None))
    return found, words[1:], click.Context(found, info_name=found.name, parent=context)


def _no_such(group: Group, word: str, context: click.Context, *, exists: bool) -> str:
    path = context.command_path
    if exists:
        return f"`{path} {word}` works in the terminal only, as `{path.lstrip('/')} {word}`; ask whoever runs the desk."
    there = subcommands(group, context, surface(context))
    if not word:
        return f"Say which: `{path} {'|'.join(there)}`."
    near = difflib.get_close_matches(word.lower(), there, 1)
    guess = f"did you mean `{path} {near[0]}`?" if near else f"there are {', '.join(there)}."
    return f"There is no command `{path} {word}`; {guess}"


def subcommands(group: Group, context: click.Context, where: str) -> list[str]:
    """The names of a group's commands on a surface."""
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return [name for name, one in found.items() if one and where in getattr(one, "surfaces", ())]


def sentence(error: click.UsageError, command: click.Command, context: click.Context) -> str:
    """What Click found wrong, as one sentence with the remedy."""
    path = context.command_path
    if isinstance(error, click.NoSuchCommand) and isinstance(command, Group):
        return _no_such(command, error.command_name, context, exists=False)
    if isinstance(error, click.NoSuchOption):
        options = [
            name
            for param in command.get_params(context)
            for name in param.opts
            if name.startswith("-")
        ]
        near = difflib.get_close_matches(error.option_name, options, 1)
        if near:
            return f"`{path}` has no option {error.option_name}; did you mean {near[0]}?"
        known = f"it has {', '.join(options)}" if options else "it has none"
        return f"`{path}` has no option {error.option_name}; {known}."
    if isinstance(error, click.BadParameter) and error.param:
        option = isinstance(error.param, click.Option)
        name = error.param.opts[0] if option else error.param.make_metavar(context)
        if isinstance(error, click.MissingParameter):
            return f"`{path}` needs {name}; write `{usage(command, context)}`."
        return f"{name}: {error.message}"
    message = error.format_message().rstrip(".")
    return f"{message[:1].upper()}{message[1:]}; write `{usage(command, context)}`."


def usage(command: click.Command, context: click.Context) -> str:
    """How to write a command: ``/retention score CUSTOMER [--as-of DATE]``."""
    pieces = [context.command_path]
    for param in command.own_params(surface(context)) if isinstance(command, Command) else ():
        if isinstance(param, click.Argument):
            pieces.append(param.make_metavar(context))
        elif isinstance(param, click.Option):
            value = "" if param.is_flag else f" {option_metavar(param, context)}"
            pieces.append(
                f"[{param.opts[0]}{value}]" if not param.required else f"{param.opts[0]}{value}"
            )
    return " ".join(pieces)


def option_metavar(option: click.Option, context: click.Context) -> str:
    """What an option's value looks like: ``high|medium|low``, ``28d``, ``DATE``."""
    if isinstance(option.type, click.Choice):
        return "|".join(str(one) for one in option.type.choices)
    return option.make_metavar(context)
