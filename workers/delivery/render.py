"""Render Slack messages, modals and Home tabs from templates.

A template is YAML. Every ``{{ value }}`` becomes an opaque mark before the YAML is read, so values
cannot add structure. Then each mark is replaced by its value, escaped for its place: ``& < >`` in
mrkdwn, nothing in plain text, ids and URLs. Characters that would end a bold passage are replaced
by similar ones. Templates need no escaping filters.

The filters ``user``, ``channel``, ``date`` and ``link`` make Slack's control sequences from checked
values.
"""

import json
import re
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

import yaml
from jinja2 import Environment, pass_context
from markupsafe import Markup

from retention.demo import EFFECT
from retention.risk.strategy import KINDS
from retention.templating import environment, moment, shorten, strip_controls
from retention.text import bracket, gettext, is_pseudo, language, phrase, plural_phrase
from workers import action_ids
from workers.delivery.block_limits import SECTION, bracketed, check_message, check_view
from workers.delivery.slack_client import is_channel

_MARK = re.compile("\ue000(\\d+)\ue001")
_BOLD = re.compile(r"\*[^*\n]+\*")  # in a template, whose values are still marks
# A template's full stop after a value or a Chinese word, where the sentence has no translation
# because it has no words: "*{{ name }}*: {{ customers }}."
_WESTERN_STOP = re.compile("(?<=[\ue001\u4e00-\u9fff”）)*])\\.(?: |(?=\\s|$))")
# Slack has no escape for these. They mean nothing between blanks, nor does an underscore in a word.
_FORMATTING = re.compile(r"`|(?<!\s)[*~]|[*~](?!\s)|(?<!\w)_|_(?!\w)")
_LOOKALIKES = {"*": "\u2217", "~": "\u223c", "`": "\u02cb", "_": "\u02cd"}
_USER = re.compile(r"[UW][A-Z0-9]+")
_PRIVATE = re.compile("[\ue000\ue001]")
# Blocks and objects whose text people read; ids and values stay as they are.
_SHOWN = {"mrkdwn", "plain_text", "raw_text", "image"}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Control:
    """A Slack control sequence that we made.

    It is shown as such in mrkdwn, and as ``plain`` elsewhere.
    """

    mrkdwn: str
    plain: str


@dataclass(frozen=True, slots=True)
class Message:
    """A rendered message.

    ``text`` is for notifications and screen readers, ``blocks`` for the display.
    """

    text: str
    blocks: list[dict[str, Any]]


def escape(value: str) -> str:
    """Escape Slack's three special characters for mrkdwn."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _user(user_id: str) -> Control | str:
    if re.fullmatch(r"S[A-Z0-9]+", user_id):
        return Control(f"<!subteam^{user_id}>", f"@{user_id}")
    return Control(f"<@{user_id}>", f"@{user_id}") if _USER.fullmatch(user_id) else user_id


def _channel(channel_id: str) -> Control | str:
    if re.fullmatch(r"[DUW][A-Z0-9]+", channel_id):
        return gettext("a direct message")
    return Control(f"<#{channel_id}>", channel_id) if is_channel(channel_id) else channel_id


def _link(url: str, label: str) -> Control:
    if not re.fullmatch(r"https?://[^\s<>|]+", url):
        return Control(escape(label), label)
    return Control(f"<{escape(url)}|{escape(label).replace('|', '/')}>", label)


def _date(at: datetime | str, zone: str = "UTC") -> Control:
    """Return a time in the reader's time zone."""
    parsed = datetime.fromisoformat(at) if isinstance(at, str) else at
    plain = moment(parsed, zone)
    form = phrase("{date_short_pretty} at {time}")  # Slack fills it in
    return Control(f"<!date^{int(parsed.timestamp())}^{form}|{plain}>", plain)


class _Marks:
    """Values of one rendering, by mark."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def finalize(self, value: Any) -> Any:
        if isinstance(value, Markup):  # output of a macro or a block, already marked
            return value
        self.values.append(value)
        return Markup(f"\ue000{len(self.values) - 1}\ue001")  # noqa: S704 - our own mark

    def fill(self, text: str, *, mrkdwn: bool) -> Any:
        whole = _MARK.fullmatch(text)
        if not whole and language() == "zh":
            text = _WESTERN_STOP.sub("。", text)
        value = self.values[int(whole[1])] if whole else None
        if isinstance(value, bool | int | float) and not mrkdwn:
            return value
        if mrkdwn:
            text = _BOLD.sub(lambda bold: self._each(bold[0], mrkdwn=True, bold=True), text)
        return self._each(text, mrkdwn=mrkdwn)

    def _each(self, text: str, *, mrkdwn: bool, bold: bool = False) -> str:
        return _MARK.sub(lambda match: self._one(int(match[1]), mrkdwn, bold), text)

    def _one(self, number: int, mrkdwn: bool, bold: bool) -> str:
        value = self.values[number]
        if isinstance(value, Control):
            return value.mrkdwn if mrkdwn else value.plain
        plain = _PRIVATE.sub("", str(value))
        plain = _FORMATTING.sub(lambda sign: _LOOKALIKES[sign[0]], plain) if bold else plain
        return escape(plain) if mrkdwn else plain


_current: ContextVar[_Marks] = ContextVar("marks")


def _load(template: str, context: dict[str, Any]) -> tuple[Any, _Marks]:
    marks = _Marks()
    token = _current.set(marks)
    try:
        source = _environment().get_template(f"slack/{template}.yaml.j2").render(**context)
    finally:
        _current.reset(token)
    return _parsed(source), marks


@lru_cache(maxsize=256)
def _parsed(source: str) -> Any:
    """Parse the YAML of a template.

    Values are marks in it, so each structure is parsed once. Callers must not change the result.
    """
    return yaml.load(source, Loader=_Loader)  # noqa: S506 - a safe loader


@pass_context  # also keeps Jinja from compiling one rendering's marks into the cached code
def _finalize(_context: Any, value: Any) -> Any:
    return _current.get().finalize(value)


@pass_context
def _translate(_context: Any, message: str, /, **values: Any) -> Markup:
    """Translate ``{% trans %}``; its values become marks, as all values do.

    The pseudo-locale brackets whole texts later.
    """
    return _filled(phrase(message), values)


@pass_context
def _translate_plural(
    _context: Any, singular: str, plural: str, num: float, /, **values: Any
) -> Markup:
    return _filled(plural_phrase(singular, plural, num), values)


def _filled(sentence: str, values: dict[str, Any]) -> Markup:
    marks = _current.get()
    text = Markup(sentence.replace('"', '\\"'))  # noqa: S704 - of a template or a catalogue
    return text % {name: marks.finalize(value) for name, value in values.items()}


@cache
def _environment() -> Environment:
    templates = environment(autoescape=True, finalize=_finalize)
    templates.globals.update(gettext=_translate, ngettext=_translate_plural, _=_translate)
    templates.filters.update(user=_user, channel=_channel, link=_link, date=_date, json=json.dumps)
    templates.tests["person"] = lambda value: _USER.fullmatch(str(value)) is not None
    templates.tests["group"] = lambda value: re.fullmatch("S[A-Z0-9]+", str(value)) is not None
    templates.tests["channel"] = lambda value: is_channel(str(value))
    # The effect is shown where ``demo`` is true.
    templates.globals.update(ids=action_ids, stated_effect=asdict(EFFECT), campaign_kinds=KINDS)
    return templates


def compile_templates() -> None:
    """Compile all templates of Slack, 2 s of work that the first commands would wait for."""
    for name in _environment().list_templates(filter_func=lambda each: each.startswith("slack/")):
        _environment().get_template(name)


def _fill(node: Any, marks: _Marks, *, mrkdwn: bool) -> Any:
    if isinstance(node, dict):
        kind = node.get("type")
        inside = mrkdwn or kind == "mrkdwn"
        filled = {key: _fill(value, marks, mrkdwn=inside) for key, value in node.items()}
        for key in ("text", "alt_text"):
            if kind in _SHOWN and isinstance(filled.get(key), str):
                filled[key] = strip_controls(filled[key])
        return filled
    if isinstance(node, list):
        return [_fill(value, marks, mrkdwn=mrkdwn) for value in node if value is not None]
    return marks.fill(node, mrkdwn=mrkdwn) if isinstance(node, str) else node


def message(template: str, **context: Any) -> Message:
    """Render ``templates/slack/<template>.yaml.j2`` within Slack's limits.

    Slack reads ``text`` as mrkdwn, so it is escaped as mrkdwn. Long texts are shortened.
    """
    raw, marks = _load(template, context)
    text = strip_controls(marks.fill(raw.get("text", ""), mrkdwn=True))
    blocks = check_message(_fill(raw.get("blocks") or [], marks, mrkdwn=False))
    if is_pseudo():
        return Message(bracket(shorten(text, SECTION - 2)), check_message(bracketed(blocks)))
    return Message(shorten(text, SECTION), blocks)


def view(template: str, **context: Any) -> dict[str, Any]:
    """Render a modal or Home tab."""
    raw, marks = _load(template, context)
    checked = check_view(_fill(raw, marks, mrkdwn=False))
    return check_view(bracketed(checked)) if is_pseudo() else checked
