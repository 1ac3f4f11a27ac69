"""What shops call things (``synonyms.toml``), and how much a column's name is like one of these words."""

import re
import tomllib
import unicodedata
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

ALMOST = 0.85  # names that are as alike as this are taken for the same


@cache
def words() -> dict[str, Any]:
    """The sections of the file: a table's canonical columns, the words of events, the countries."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def likeness(name: str, words: list[str]) -> float:
    """How much a name is one of the words; of a nested field (``user.id``) the whole of it or its last part."""
    return max(_alike(part, words) for part in {name, name.rpartition(".")[2]})


def meaning(word: str) -> str | None:
    """The type of event that a word of a shop's stands for, if it stands for one."""
    plain = re.sub(r"[^a-z]", "", word.lower())
    for kind, alike in words()["words"].items():
        if plain == kind.replace("_", "") or plain in alike:
            return str(kind)
    return None


def _alike(name: str, words: list[str]) -> float:
    plain = (
        unicodedata.normalize("NFKD", name.replace("ß", "ss"))
        .encode("ascii", "ignore")
        .decode()
        .lower()
    )
    plain = re.sub(r"[^a-z0-9]", "", plain)
    if plain in words:
        return 1.0 - 0.001 * words.index(plain)  # the more telling names stand first
    best = max(SequenceMatcher(None, plain, word).ratio() for word in words)
    long = tuple(word for word in words if len(word) > 3)
    # A total discount is a discount.
    part = 0.75 if plain.endswith(long) else 0.7 if plain.startswith(long) else 0.0
    return max(best * 0.9 if best >= ALMOST else 0.0, part)
