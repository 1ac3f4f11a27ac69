"""Find the places that a sentence names, and write them as a condition of the audience grammar."""

import re
from collections.abc import Callable, Mapping
from typing import Literal

from bot.ask.sentence import is_chinese
from retention.audiences.expression import Comparison, OneOf

# The field and the value of each place of the shop's customers, by its lower-case name.
Places = Mapping[str, tuple[str, str]]
Gap = Literal["", "field", "value"]

MAX_WORDS = 4  # of a place's name
MAX_CHARACTERS = 12  # of a Chinese place's name

_MAY_NAME = re.compile(
    r"\b(?:in|from|near|around|of|about|and|only|just)\b|"
    r"\b[A-Z]\S+ (?:customers|clients|people|households|buyers|shoppers)\b|[\u4e00-\u9fff]"
)
_BEFORE = re.compile(
    r"\b(?:who (?:are|live|come) )?(?:in|from|near|around|of|about|and|only|just) "
    r"(?:the )?(?:city of )?",
    re.IGNORECASE,
)
_PEOPLE = re.compile(r"\s+(?:customers|clients|people|households|buyers|shoppers)\b", re.IGNORECASE)
_JOINT = re.compile(r"(?:,\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+)(?:in\s+|from\s+)?", re.IGNORECASE)
_WORD = re.compile(r"[\w'’.-]*\w")
_ZH_BEFORE, _ZH_AFTER = re.compile(r"(?:居?住在|来自|在|住)$"), re.compile(r"市?(?:地区)?的?")
_ZH_JOINT = re.compile(r"[和或与及、,]")
_NAMED = re.compile(r"(?:in|from|near) (?:the )?[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")


def known(text: str, places: Callable[[], Places | None] | None) -> Places | None:
    """Return the shop's places; empty without asking for them if a sentence can name none."""
    if places is None:
        return None
    return places() if _MAY_NAME.search(text) else {}


def find_places(text: str, places: Places | None) -> tuple[str, int, int] | None:
    if not places:
        return None
    found = _find_chinese(text, places) if is_chinese(text) else _find_english(text, places)
    if found is None:
        return None
    named, start, end = found
    by_field: dict[str, list[str]] = {}
    for field, value in dict.fromkeys(named):
        by_field.setdefault(field, []).append(value)
    conditions = [
        str(Comparison(field, "=", values[0]) if len(values) == 1 else OneOf(field, tuple(values)))
        for field, values in by_field.items()
    ]
    return " or ".join(conditions), start, end


def gap(text: str, unused: tuple[str, ...], places: Places | None) -> Gap:
    """Return what the shop's data lacks for a place that a sentence names.

    ``field``: customers have no place at all. ``value``: none has this place. Empty otherwise.
    """
    if places is None or not any(_is_place(text, part) for part in unused):
        return ""
    return "value" if places else "field"


def _is_place(text: str, part: str) -> bool:
    if not is_chinese(part):
        return _NAMED.fullmatch(part) is not None
    around = rf"(?:居?住在|来自|在){re.escape(part)}|{re.escape(part)}[市省]"
    return part.endswith(("市", "省")) or re.search(around, text) is not None


def _find_english(text: str, places: Places) -> tuple[list[tuple[str, str]], int, int] | None:
    for match in _BEFORE.finditer(text):
        named, end = _list_at(text, match.end(), places)
        if named:
            return named, match.start(), end
    for match in _WORD.finditer(text):  # "Berlin customers at risk"
        named, end = _list_at(text, match.start(), places)
        if named and _PEOPLE.match(text, end):
            return named, match.start(), end
    return None


def _list_at(text: str, at: int, places: Places) -> tuple[list[tuple[str, str]], int]:
    """Return the places that follow a position, and where they end."""
    named, end = [], at
    while place := _place_at(text, at, places):
        named.append(places[place[0]])
        end = place[1]
        joint = _JOINT.match(text, end)
        if joint is None:
            break
        at = joint.end()
    return named, end


def _place_at(text: str, at: int, places: Places) -> tuple[str, int] | None:
    """Return the longest name that starts at a position, and its end."""
    ends: list[int] = []
    start = at
    while len(ends) < MAX_WORDS and (word := _WORD.match(text, start)):
        ends.append(word.end())
        if text[word.end() : word.end() + 1] != " ":
            break
        start = word.end() + 1
    for end in reversed(ends):
        if (name := text[at:end].lower()) in places:
            return name, end
    return None


def _find_chinese(text: str, places: Places) -> tuple[list[tuple[str, str]], int, int] | None:
    by_short = {name.removesuffix("市"): place for name, place in places.items()}
    named: list[tuple[str, str]] = []
    low, at, start, end = text.lower(), 0, 0, 0
    while at < len(low):
        length = next(
            (
                n
                for n in range(min(MAX_CHARACTERS, len(low) - at), 1, -1)
                if low[at : at + n] in by_short
            ),
            0,
        )
        if not length:
            at += 1
            continue
        if named and not _ZH_JOINT.fullmatch(low, end, at):
            break
        if not named:
            before = _ZH_BEFORE.search(low, 0, at)
            start = before.start() if before else at
        named.append(by_short[low[at : at + length]])
        after = _ZH_AFTER.match(low, at + length)
        at = end = after.end() if after else at + length
    return (named, start, end) if named else None
