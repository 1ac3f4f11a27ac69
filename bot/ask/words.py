"""Read the word lists of ``words.txt``."""

from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("words.txt")


@cache
def word_list(name: str) -> frozenset[str]:
    """Return a word list: ``domain``, ``other`` or ``filler``."""
    lists: dict[str, list[str]] = {}
    section = ""
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            section = line[3:]
        elif not line.startswith("#"):
            lists.setdefault(section, []).extend(line.split())
    return frozenset(lists[name])
