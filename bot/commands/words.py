"""From what a person typed to words, as a shell would split them, but forgiving what phones do to punctuation.

Phones turn ``--`` into an em dash, quotes into typographic ones, three dots into an ellipsis, and paste non-breaking
spaces. A quote counts only where a word (or an option's value) begins, so ``O'Brien`` and ``O’Brien`` are words.
"""

import html
import re

from retention.errors import BadInput
from retention.text import gettext

_CLOSING = {'"': '"”“„‟', "'": "'’‘‚‛", "«": "»"}
_OPENING = {
    **dict.fromkeys('"“”„‟', '"'),
    **dict.fromkeys("'‘’‚‛", "'"),
    "«": "«",
}
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")
_LONG_DASH = re.compile("^[—–―⸺]|^-[—–]")
_DASH = re.compile("[‐‑‒–—―−]")


def split(text: str) -> list[str]:
    """Split a command line into words.

    Parameters
    ----------
    text : str
        As Slack sends it: ``& < >`` as entities, mentions as ``<@U123|name>``.

    Raises
    ------
    BadInput
        A quote is opened and never closed.
    """
    text = _INVISIBLE.sub("", html.unescape(text))
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] in _OPENING:
            quoted, at = _quoted(text, at)
            words.append(quoted)
        else:
            word, at = _bare(text, at)
            words.append(word)
    return words


def _bare(text: str, at: int) -> tuple[str, int]:
    start = at
    while at < len(text) and not text[at].isspace():
        if text[at] == "=" and at + 1 < len(text) and text[at + 1] in _OPENING:
            quoted, end = _quoted(text, at + 1)
            return plain(text[start : at + 1]) + quoted, end
        at += 1
    return plain(text[start:at]), at


def _quoted(text: str, at: int) -> tuple[str, int]:
    closing = _CLOSING[_OPENING[text[at]]]
    for end in range(at + 1, len(text)):
        ends_word = end + 1 == len(text) or text[end + 1].isspace()
        if text[end] in closing and ends_word:
            return text[at + 1 : end], end + 1
    seen = text[at : at + 20] + ("…" if len(text) > at + 20 else "")
    raise BadInput(
        gettext(
            "A quote is opened at {seen} and never closed; add the closing quote at its end."
        ).format(seen=seen)
    )


def plain(word: str) -> str:
    """A word outside quotes with its typographic dashes and ellipses as a keyboard's."""
    word = _LONG_DASH.sub("--", word.replace("…", "..."))
    return _DASH.sub("-", word)
