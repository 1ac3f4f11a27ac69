"""Clean a sentence of a Slack message and correct its typos."""

import html
import re
import unicodedata
from functools import cache
from pathlib import Path

_MENTION = re.compile(r"^(?:\s*<@[UW][A-Z0-9]+(?:\|[^>]*)?>[\s,:]*)+")
_LINK = re.compile(r"<(?:https?|mailto):([^|>]*)(?:\|([^>]*))?>")
_EMOJI = re.compile(r":[a-z0-9_+-]+:")
_CODE = re.compile(r"[`*_]+(?=\S)|(?<=\S)[`*_]+")
_QUOTES = str.maketrans("‘’‚‛“”„‟–—−", "''''\"\"\"\"---")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?", re.IGNORECASE)
MAX_CHARACTERS = 600  # of a sentence; what is longer is no command


def clean(text: str) -> str:
    """Return a message's sentence without Slack's markup."""
    text = _MENTION.sub("", html.unescape(text))
    text = _LINK.sub(lambda link: link[2] or link[1], text)
    text = _EMOJI.sub(" ", text)
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = _CODE.sub("", text)
    return " ".join(text.split())[:MAX_CHARACTERS]


def is_chinese(text: str) -> bool:
    """Return whether a text has Chinese characters."""
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)


def correct(text: str) -> str:
    """Replace misspelled words of the field."""

    def corrected(match: re.Match[str]) -> str:
        word = match[0]
        if match.start() and word[0].isupper():
            return word
        return _corrected(word.lower()) or word

    return _WORD.sub(corrected, text)


@cache
def _corrected(word: str) -> str | None:
    if word == "teh":
        return "the"
    if len(word) < 4 or word in word_list("domain") or word in word_list("other"):
        return None
    most = 1 if len(word) < 7 else 2
    near = [(distance(word, other), other) for other in word_list("domain") if len(other) > 3]
    least, nearest = min(near)
    stem = word.removesuffix("s").removesuffix("ed").removesuffix("ing").removesuffix("er")
    if (
        least > most
        or stem in word_list("domain")
        or nearest == f"{word}s"
        or word.startswith(nearest)  # another form of the same word
    ):
        return None
    return nearest if word[0] == nearest[0] else None


def distance(word: str, other: str) -> int:
    """Count the edits between two words."""
    if abs(len(word) - len(other)) > 2:
        return 9
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        before, last, row = row, before, [i]
        for j, other_letter in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other_letter))
            is_swap = i > 1 and j > 1 and letter == other[j - 2] and word[i - 2] == other_letter
            if is_swap:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


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
