"""Parse command lines with Click's parser.

Nothing is invoked or printed. Phones turn ``--`` into an em dash, quotes into typographic ones,
three dots into an ellipsis, and paste non-breaking spaces. A quote counts only at the start of
a word or of an option's value. So ``O'Brien`` and ``O’Brien`` are words.
"""

import difflib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from bot.commands.tree import SLACK, Call, Command, Group, slack_context, surface
from retention.errors import BadInput
from retention.text import gettext

_CLOSING = {'"': '"”“„‟', "'": "'’‘‚‛", "«": "»"}
_OPENING = {**dict.fromkeys('"“”„‟', '"'), **dict.fromkeys("'‘’‚‛", "'"), "«": "«"}
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")
_LONG_DASH = re.compile("^[—–―⸺]|^-[—–]")
_DASH = re.compile("[‐‑‒–—―−]")


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """A command of the tree and its parameters."""

    command: Command
    params: dict[str, Any]


def parse(text: str, call: Call | None = None) -> ParsedCommand:
    """Parse the text after ``/retention``.

    `call`: its person's role is checked before the command's parameters are read.
    """
    words: Sequence[str] = split_words(text) or ["help"]
    if "--help" in words:
        words = ["help", *(word for word in words if not word.startswith("-"))]
    context = slack_context(call)
    node: click.Command = context.command
    while isinstance(node, Group):
        node, words, context = _descend(node, words, context)
    if not isinstance(node, Command):
        raise TypeError(f"{context.command_path} is neither a Command nor a Group")
    if call:
        call.services.require(call.user, node.role, node.deed)
    try:
        with node.make_context(
            context.info_name, list(words), parent=context.parent
        ) as node_context:
            return ParsedCommand(node, dict(node_context.params))
    except click.UsageError as error:
        raise BadInput(usage_error_message(error, node, context)) from None


def _descend(
    group: Group, words: Sequence[str], context: click.Context
) -> tuple[click.Command, Sequence[str], click.Context]:
    """Go one step down the tree."""
    word = words[0] if words else ""
    command = group.get_command(context, word.lower()) if word else None
    if default := group.default_for(word):
        words = [default, *words]
        command = group.get_command(context, default)
    if command is None or SLACK not in command.surfaces:  # type: ignore[attr-defined]
        raise BadInput(_no_such_command(group, word, context, exists=command is not None))
    return command, words[1:], click.Context(command, info_name=command.name, parent=context)


def _no_such_command(group: Group, word: str, context: click.Context, *, exists: bool) -> str:
    path = context.command_path
    if exists:
        return gettext(
            "`{path} {word}` works in the terminal only, as `{terminal_path} {word}`; "
            "ask whoever runs the desk."
        ).format(path=path, word=word, terminal_path=path.lstrip("/"))
    available = group.commands_on(surface(context), context)
    if not word:
        text = gettext("Say which: `{path} {commands}`.")
        return text.format(path=path, commands="|".join(available))
    nearest = difflib.get_close_matches(word.lower(), available, 1)
    if nearest:
        text = gettext("There is no command `{path} {word}`; did you mean `{path} {nearest}`?")
        return text.format(path=path, word=word, nearest=nearest[0])
    text = gettext("There is no command `{path} {word}`; there are {commands}.")
    return text.format(path=path, word=word, commands=", ".join(available))


def usage_error_message(
    error: click.UsageError, command: click.Command, context: click.Context
) -> str:
    """Return Click's error as one sentence with the remedy."""
    path = context.command_path
    if isinstance(error, click.NoSuchCommand) and isinstance(command, Group):
        return _no_such_command(command, error.command_name, context, exists=False)
    if isinstance(error, click.NoSuchOption):
        options = [
            name
            for param in command.get_params(context)
            for name in param.opts
            if name.startswith("-")
        ]
        nearest = difflib.get_close_matches(error.option_name, options, 1)
        if nearest:
            message = gettext("`{path}` has no option {option}; did you mean {nearest}?")
        elif options:
            message = gettext("`{path}` has no option {option}; it has {options}.")
        else:
            message = gettext("`{path}` has no option {option}; it has none.")
        return message.format(
            path=path,
            option=error.option_name,
            nearest="".join(nearest),
            options=", ".join(options),
        )
    if isinstance(error, click.BadParameter) and error.param:
        is_option = isinstance(error.param, click.Option)
        name = error.param.opts[0] if is_option else error.param.make_metavar(context)
        if isinstance(error, click.MissingParameter):
            text = gettext("`{path}` needs {name}; write `{usage}`.")
            return text.format(path=path, name=name, usage=usage(command, context))
        return f"{name}: {error.message}"
    message = error.format_message().rstrip(".")
    text = gettext("{message}; write `{usage}`.")
    return text.format(message=f"{message[:1].upper()}{message[1:]}", usage=usage(command, context))


def usage(command: click.Command, context: click.Context) -> str:
    """Return a command's usage: ``/retention score CUSTOMER [--as-of DATE]``."""
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
    """Return the placeholder of an option's value.

    Examples: ``high|medium|low``, ``28d``, ``DATE``.
    """
    if isinstance(option.type, click.Choice) and not option.metavar:
        return "|".join(str(word) for word in option.type.choices)
    return option.make_metavar(context)


def split_words(text: str) -> list[str]:
    """Split a command line into words.

    `text`: Slack's text: ``& < >`` as entities, mentions as ``<@U123|name>``.
    """
    text = _INVISIBLE.sub("", html.unescape(text))
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] in _OPENING:
            quoted, at = _quoted_word(text, at)
            words.append(quoted)
        else:
            word, at = _unquoted_word(text, at)
            words.append(word)
    return words


def _unquoted_word(text: str, at: int) -> tuple[str, int]:
    start = at
    while at < len(text) and not text[at].isspace():
        if text[at] == "=" and at + 1 < len(text) and text[at + 1] in _OPENING:
            quoted, end = _quoted_word(text, at + 1)
            return replace_typographic(text[start : at + 1]) + quoted, end
        at += 1
    return replace_typographic(text[start:at]), at


def _quoted_word(text: str, at: int) -> tuple[str, int]:
    closing = _CLOSING[_OPENING[text[at]]]
    for end in range(at + 1, len(text)):
        ends_word = end + 1 == len(text) or text[end + 1].isspace()
        if text[end] in closing and ends_word:
            return text[at + 1 : end], end + 1
    start = text[at : at + 20] + ("…" if len(text) > at + 20 else "")
    message = gettext(
        "A quote is opened at {start} and never closed; add the closing quote at its end."
    )
    raise BadInput(message.format(start=start))


def replace_typographic(word: str) -> str:
    """Replace a word's typographic dashes and ellipses by ASCII."""
    word = _LONG_DASH.sub("--", word.replace("…", "..."))
    return _DASH.sub("-", word)
