"""Mask personal data in what customers wrote, before others read it."""

import re
from collections.abc import Iterable

MASK = "…"
# Addresses and links, handles, and numbers of five digits or more: telephones, orders, cards.
_PERSONAL = re.compile(
    r"\S+@\S+\.\w+|(?:https?://|www\.)\S+|(?<!\w)@\w+|(?<![\w.,])[+(]?\d(?:[\s().,/-]?\d){4,}\w*"
    r"|\b[A-Z]{2}\d{2}[A-Z0-9]{6,}\b|#\s?[\w-]*\d\w*"
)
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
MIN_NAME = 2  # letters; a single one is an initial


def mask_personal(text: str, names: Iterable[str] = ()) -> str:
    """Return a text without addresses, links, numbers and the parts of these names.

    >>> mask_personal("Call Ann Lee on +44 20 7946 0958, order #A77", ["Ann Lee"])
    'Call … … on …, order …'
    """
    parts = {part for name in names for part in re.findall(r"\w+", name) if len(part) >= MIN_NAME}
    if parts:
        # Chinese and Japanese have no spaces between words.
        words = "|".join(
            re.escape(part) if _UNSPACED.search(part) else rf"(?<!\w){re.escape(part)}(?!\w)"
            for part in sorted(parts, key=len, reverse=True)
        )
        text = re.sub(words, MASK, text, flags=re.IGNORECASE)
    return _PERSONAL.sub(MASK, text)


def quote(text: str, names: Iterable[str] = (), most: int = 140) -> str:
    """Return the beginning of a masked text, on one line, cut at a word."""
    line = " ".join(mask_personal(text, names).split())
    if len(line) <= most:
        return line
    cut = line[:most].rsplit(" ", 1)[0] if " " in line[most // 2 : most] else line[:most]
    return f"{cut.rstrip(' ,;:.')} …"
