"""Turn a command's parameters into form fields, and a filled form into a typed command.

The window of `/retention` shows the fields. What it runs is the typed command, so a form can do
nothing that a typed command cannot.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import cast

import click

from bot.commands.catalogue import Entry
from bot.commands.parsing import split_words
from bot.commands.tree import SLACK, Command, context_of, slack_context
from retention.errors import BadInput
from retention.text import gettext

SELECT, NUMBER, DAYS, DATE, TIME = "select", "number", "days", "date", "time"
PERSON, CHANNEL, FLAG, TEXT = "person", "channel", "flag", "text"
_KINDS = {
    "number": NUMBER,
    "percent": NUMBER,
    "money": NUMBER,
    "days": DAYS,
    "date": DATE,
    "HH:MM": TIME,
    "person": PERSON,
}
MAX_OPTIONS = 100  # of a select in Slack
_QUOTES = (('"', '"'), ("'", "'"), ("«", "»"))


@dataclass(frozen=True, slots=True)
class Field:
    """One input of the form.

    ``flag`` is the option's name, or "" for an argument. ``least`` and ``most`` bound a number.
    """

    name: str
    kind: str
    label: str
    hint: str
    flag: str
    is_required: bool
    default: str
    options: tuple[str, ...] = ()
    least: str = ""
    most: str = ""
    is_decimal: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """A command's fields and what has been filled in."""

    command: str
    help: str
    fields: tuple[Field, ...]
    values: dict[str, str] = field(default_factory=dict)

    @property
    def typed(self) -> str:
        """Return the command as a person would type it, without ``/retention``."""
        words = [self.command]
        for one in self.fields:
            value = self.values.get(one.name, "")
            if not value or (one.flag and value == one.default):
                continue
            if one.kind == FLAG:
                words.append(one.flag)
                continue
            text = f"{value}d" if one.kind == DAYS else quoted(value)
            words += [one.flag, text] if one.flag else [text]
        return " ".join(words)


def form_of(entry: Entry, values: dict[str, str] | None = None) -> Form:
    context = context_of(entry.path, slack_context())
    command = cast(Command, context.command)
    params = sorted(command.own_params(SLACK), key=lambda param: isinstance(param, click.Option))
    return Form(
        entry.name,
        entry.help.split("\n\n")[0].replace("\n", " "),
        tuple(_field(param, context) for param in params),
        values or {},
    )


def quoted(value: str) -> str:
    """Quote a value for a command line, if it needs that."""
    if split_words_safely(value) == [value]:
        return value
    for start, end in _QUOTES:
        candidate = f"{start}{value}{end}"
        if split_words_safely(candidate) == [value]:
            return candidate
    text = gettext("{value!r} mixes several kinds of quotes; use only one kind.")
    raise BadInput(text.format(value=value))


def split_words_safely(text: str) -> list[str]:
    """Split a command line into words; a text that cannot be split has none."""
    try:
        return split_words(text)
    except BadInput:
        return []


def _field(param: click.Parameter, context: click.Context) -> Field:
    is_option = isinstance(param, click.Option)
    words = (param.name or "").replace("_", " ")
    base = partial(
        Field,
        name=param.name or "",
        label=words[:1].upper() + words[1:],
        hint=(param.help or "") if isinstance(param, click.Option) else "",
        flag=param.opts[0] if is_option else "",
        is_required=param.required,
        default=_default(param),
    )
    if isinstance(param, click.Option) and param.is_flag:
        return base(kind=FLAG)
    if isinstance(param.type, click.Choice):
        return base(kind=SELECT, options=tuple(str(one) for one in param.type.choices))
    kind = _KINDS.get(param.type.name, TEXT)
    if is_option and param.name == "channel":
        kind = CHANNEL
    bounds = getattr(getattr(param.type, "parse", None), "keywords", {})
    most = bounds.get("most")
    return base(
        kind=kind,
        least=str(bounds.get("least", "" if kind != DAYS else 1)),
        most=str(most) if most is not None and most < 2**31 - 1 else "",
        is_decimal=param.type.name in ("percent", "money"),
        default=_default(param).removesuffix("d") if kind == DAYS else _default(param),
    )


def _default(param: click.Parameter) -> str:
    default = param.to_info_dict()["default"]
    return str(default) if isinstance(default, str | int) and not isinstance(default, bool) else ""
