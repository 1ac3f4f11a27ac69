"""Translate the sentences that people read.

Sentences in code are marked with `gettext`; sentences in messages, pages and e-mails are in
``templates/``. The source language is English. Catalogues are
``retention/locale/LANGUAGE/LC_MESSAGES/retention.mo``, made by Babel.

This module is in the lowest layer and reads the environment itself, because `retention.settings`
has sentences, too.
"""

import gettext as _gettext
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from html import unescape
from pathlib import Path

LANGUAGE = "RETENTION_LANGUAGE"
DEFAULT = "en"
PSEUDO = "en-XA"  # the usual code of the pseudo-locale: shows each sentence as ⟦sentence⟧
NOT_IN_PICTURES = frozenset({"zh"})  # the font of pictures, DejaVu Sans, has no such characters
FOLDER = Path(__file__).parent / "locale"
_LANGUAGE: ContextVar[str | None] = ContextVar("language", default=None)
_URL = re.compile(r"(https?://[^\s<>\"']+)")
_MARKUP = re.compile(
    r"""(<!--.*?-->|<(?P<data>script|style)\b.*?</(?P=data)\s*>|<(?:"[^"]*"|'[^']*'|[^'">])*>)""",
    re.DOTALL | re.IGNORECASE,
)
# NUL, which PostgreSQL refuses, and lone surrogates: a field may be cut within an emoji.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Embeddings, overrides and isolates reverse the text after a value, up to the end of the message.
# Terminals obey control characters, so a customer's name could clear the operator's screen.
# Tab and line end stay.
_CONTROL_CHARACTERS = dict.fromkeys(
    (
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(9),
        *range(0x0B, 0x20),
        *range(0x7F, 0xA0),
    )
)


def gettext(message: str) -> str:
    """Return a sentence in the installation's language.

    `message`: the English sentence: a literal, because Babel must find it. Values go into
    ``{named}`` fields, which the caller fills in with `str.format` afterwards.

    Examples
    --------
    >>> gettext("There is no job {job!r}.").format(job="j7")
    "There is no job 'j7'."
    """
    if is_pseudo():
        return bracket(message)
    return _catalogue(language()).gettext(message)


def marked(message: str) -> str:
    """Mark a sentence of a table, for Babel; `gettext` translates it when it is said."""
    return message


def ngettext(singular: str, plural: str, number: float) -> str:
    """Return a sentence with a number in the present language."""
    if is_pseudo():
        return bracket(singular if number == 1 else plural)
    return _catalogue(language()).ngettext(singular, plural, int(number))


def npgettext(context: str, singular: str, plural: str, number: float) -> str:
    """Return a word with a number, in a context; the pseudo-locale leaves it as it is."""
    if language() in (DEFAULT, PSEUDO):
        return singular if number == 1 else plural
    return _catalogue(language()).npgettext(context, singular, plural, int(number))


def phrase(message: str) -> str:
    """Translate a part of a sentence.

    The pseudo-locale brackets whole sentences, so it leaves a phrase as it is.

    Examples
    --------
    >>> with use_language("en-XA"):
    ...     phrase("at risk")
    'at risk'
    """
    return message if is_pseudo() else translate(message)


def plural_phrase(singular: str, plural: str, number: float) -> str:
    """Translate a part of a sentence with a number."""
    if is_pseudo():
        return singular if number == 1 else plural
    return ngettext(singular, plural, number)


def translate(message: str) -> str:
    """Look up a sentence that is marked elsewhere, such as in a template."""
    return _catalogue(language()).gettext(message)


def in_language(text: str) -> str:
    """Translate a sentence that was marked with `gettext` when its module was imported.

    It then is in the installation's language. Only English can be looked up again.
    """
    if os.environ.get(LANGUAGE, DEFAULT) != DEFAULT or is_pseudo():
        return text
    return translate(text)


def language() -> str:
    """Return the language of the present work; by default the installation's."""
    return _LANGUAGE.get() or os.environ.get(LANGUAGE, DEFAULT)


def set_language(chosen: str | None) -> None:
    """Set the language of the present thread or task; None is the installation's."""
    _LANGUAGE.set(chosen)


@contextmanager
def use_language(chosen: str | None) -> Iterator[None]:
    """Use a language within a block.

    `chosen`: one of `available_languages`; None is the installation's.

    Examples
    --------
    >>> with use_language("en-XA"):
    ...     gettext("Done.")
    '⟦Done.⟧'
    """
    token = _LANGUAGE.set(chosen)
    try:
        yield
    finally:
        _LANGUAGE.reset(token)


@contextmanager
def use_shop_language() -> Iterator[None]:
    """Use the installation's language: customers do not read the language of a colleague.

    Examples
    --------
    >>> with use_language("zh"), use_shop_language():
    ...     gettext("Done")
    'Done'
    """
    with use_language(None):
        yield


@contextmanager
def use_picture_language() -> Iterator[None]:
    """Use English within a function that draws, if the pictures' font lacks the language.

    Examples
    --------
    >>> with use_language("zh"), use_picture_language():
    ...     gettext("Done")
    'Done'
    """
    with use_language(DEFAULT if language() in NOT_IN_PICTURES else language()):
        yield


def available_languages() -> tuple[str, ...]:
    """Return the languages that have a catalogue, English and the pseudo-locale."""
    compiled = FOLDER.glob("*/LC_MESSAGES/retention.mo")
    found = {path.parents[1].name.replace("_", "-") for path in compiled}
    return (DEFAULT, *sorted(found - {DEFAULT, PSEUDO}), PSEUDO)


def remove_controls(text: str) -> str:
    """Remove characters that control a terminal or change the text direction."""
    return text.translate(_CONTROL_CHARACTERS)


def escape_controls(text: str) -> str:
    """Escape in JSON the characters that `remove_controls` removes, so that the data stays."""
    return text.translate({code: f"\\u{code:04x}" for code in _CONTROL_CHARACTERS})


def replace_unstorable(text: str) -> str:
    """Replace the characters that a database cannot store."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def is_pseudo() -> bool:
    return language() == PSEUDO


def bracket(text: str) -> str:
    """Show a text as the pseudo-locale does."""
    return f"⟦{text}⟧"


def bracket_lines(text: str) -> str:
    """Bracket each line that has letters.

    URLs and spaces around it stay outside.

    Examples
    --------
    >>> print(bracket_lines("  Total: 3\\n  ----"))
      ⟦Total: 3⟧
      ----
    """
    return "".join(_bracket_words(line) for line in text.splitlines(keepends=True))


def bracket_html(page: str) -> str:
    """Bracket each text node that has letters.

    Tags, attributes, scripts and styles stay.

    Examples
    --------
    >>> bracket_html('<p title="a">Hello <b>you</b></p>')
    '<p title="a">⟦Hello⟧ <b>⟦you⟧</b></p>'
    """
    result, end = [], 0
    for markup in _MARKUP.finditer(page):
        result += [_bracket_words(page[end : markup.start()]), markup[0]]
        end = markup.end()
    return "".join([*result, _bracket_words(page[end:])])


def _bracket_words(text: str) -> str:
    """Bracket the parts between a text's URLs."""
    return "".join(
        part if number % 2 or not _has_letters(part) else _bracket_stripped(part)
        for number, part in enumerate(_URL.split(text))
    )


def _has_letters(text: str) -> bool:
    return any(sign.isalpha() for sign in unescape(text))


def _bracket_stripped(text: str) -> str:
    words = text.strip()
    start = text.index(words)
    return f"{text[:start]}{bracket(words)}{text[start + len(words) :]}"


@cache
def _catalogue(name: str) -> _gettext.NullTranslations:
    languages = [name.replace("-", "_")]
    return _gettext.translation("retention", FOLDER, languages=languages, fallback=True)
