"""Correct English words by one letter into words that the shop, or its customers, use."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

try:  # the extra `service`
    from spellchecker import SpellChecker
except ImportError:
    SpellChecker = None

_WORD = re.compile(r"\b[a-z]+(?:'[a-z]+)?\b", re.IGNORECASE)
_SHORTEST = 4  # shorter words are near to too many others


@cache
def _english() -> Any:
    return SpellChecker()


def words_of(texts: Iterable[str]) -> list[str]:
    """Return the English words of texts, in small letters and in their order."""
    return [word.lower() for text in texts for word in _WORD.findall(text.replace("’", "'"))]


def corrected(text: str, words: Mapping[str, int]) -> str:
    """Return a text with its misspelled words corrected; ``words``: those that count, by use.

    Words of the English dictionary stay, and so do those that are near to none of ``words``.
    """
    if SpellChecker is None:
        return text
    return _WORD.sub(lambda found: _corrected(found.group(), words), text)


def _corrected(word: str, words: Mapping[str, int]) -> str:
    lower = word.lower()
    if len(lower) < _SHORTEST or lower in words or _english().known([lower]):
        return word
    near = [other for other in _english().edit_distance_1(lower) if other in words]
    return min(near, key=lambda other: (-words[other], other), default=word)
