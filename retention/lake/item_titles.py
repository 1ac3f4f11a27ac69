"""Make item titles of cash registers readable; the data keeps the originals."""

import re
from functools import lru_cache

_SMALL_WORDS = frozenset(
    {"a", "an", "and", "at", "by", "for", "in", "of", "on", "or", "the", "with"}
)
_ACRONYMS = frozenset(
    {"BBQ", "CD", "DVD", "DIY", "HD", "LED", "PC", "SPF", "TV", "UHT", "UK", "USB"}
)
# Several pack sizes in one code: 12/18&15PK, 6/4 CT.
_PACK_CODE = re.compile(r"\(?\b\d+(?:pk)?(?:\s*[/&]\s*\d+(?:pk|ct|oz)?)+\b\.?\)?", re.IGNORECASE)
_SIZE = re.compile(
    r"\b(\d+(?:[.,]\d+)?)\s?(OZ|LBS?|G|GR|KG|MG|ML|CL|L|LT|CM|MM|IN|FT|YD|CT|PK|PC|GAL?|QT|PT|DZ)\b"
)
# What cash registers shorten.
_SHORT_FORMS = {
    "can catfd": "canned cat food",
    "can dogfd": "canned dog food",
    "can carb": "cans",
    "can car": "cans",
    "btl carb": "bottle",
    "btl": "bottle",
    "catfd": "cat food",
    "choc": "chocolate",
    "containr": "container",
    "crmd": "creamed",
    "dnrs": "dinners",
    "dogfd": "dog food",
    "dps": "dips",
    "drnk": "drink",
    "fd": "food",
    "frzn": "frozen",
    "mlt-pk": "multi-pack",
    "ppk": "prepacked",
    "prem": "premium",
    "prep fd": "prepared food",
    "preportnd": "pre-portioned",
    "prpck": "prepacked",
    "prslc": "presliced",
    "refrig": "refrigerated",
    "rts": "ready-to-serve",
    "saus": "sausage",
    "sft": "soft",
    "sgl": "single",
    "sngl": "single",
    "srv": "serve",
    "sup prem": "super premium",
    "super prem": "super premium",
    "sw gds": "sweet goods",
    "vac pac": "vacuum-packed",
    "whl": "whole",
}
# Groups of a till before the product itself: "Prepared food: side dishes (hot)".
_TILL_GROUP = re.compile(r"^(?:prepared food|sweet goods):\s*(?=\S)", re.IGNORECASE)
_LONGEST_FIRST = "|".join(sorted(_SHORT_FORMS, key=len, reverse=True))
_SHORT = re.compile(rf"\b(?:{_LONGEST_FIRST})\b", re.IGNORECASE)
_WITH_DIGIT = re.compile(r"\S*\d\S*")
# Where a blank is missing: Meat:ham, mixers(club soda)flavoured.
_TIGHT = re.compile(r"(?<=[^\W\d]:)(?=[^\W\d])|(?<=\w)(?=\()|(?<=\))(?=\w)")
_LAST_SIZE = re.compile(rf",\s*{_SIZE.pattern}$", re.IGNORECASE)  # a shelf's, such as ", 40 LB"
_UNCLOSED = re.compile(r"\s*\([^(),]*(?=,|$)")  # a title that was cut: "carbonated (ex"
_LOST_SIGNS = re.compile(r"\s+(?=[,;:)])|[\s,;:/&-]+$|^[\s,;:/&-]+")


@lru_cache(maxsize=100_000)
def readable_title(title: str) -> str:
    """Return a title as a person would write it.

    Capitals become title case, pack sizes at the end are left out, short forms are written
    in full, and units are small letters. A title in mixed case keeps its words.

    Examples
    --------
    >>> readable_title("SOFT DRINKS 12/18&15PK CAN CAR"), readable_title("MILK 1% GALLON, 1 GA")
    ('Soft Drinks Cans', 'Milk 1% Gallon')
    >>> readable_title("Kids cereal, 14.5 OZ"), readable_title("Coffee No. 3")
    ('Kids cereal', 'Coffee No. 3')
    >>> readable_title("Prep fd: side dishes (hot), 4 OZ")
    'Side dishes (hot)'
    """
    title = _LAST_SIZE.sub("", title.strip())
    whole = " ".join(_UNCLOSED.sub("", _TIGHT.sub(" ", title)).split())
    words = _WITH_DIGIT.sub("", whole)
    is_shouted = words == words.upper() != words.lower()
    text = " ".join(_LOST_SIGNS.sub("", _PACK_CODE.sub(" ", whole)).split()) or whole
    text = _SIZE.sub(lambda size: f"{size[1]} {size[2].lower()}", _SHORT.sub(_in_full, text))
    product = _TILL_GROUP.sub("", text)
    text = product if product == text else product[0].upper() + product[1:]
    if not is_shouted:
        return text
    parts = text.split(" ")
    return " ".join(_word(part, is_first=number == 0) for number, part in enumerate(parts))


def _in_full(short: re.Match[str]) -> str:
    """Return the word for a short form, with the same case."""
    word = _SHORT_FORMS[short[0].lower()]
    if short[0].isupper():
        return word.upper()
    return word.capitalize() if short[0][0].isupper() else word


def _word(word: str, *, is_first: bool) -> str:
    """Return a word of a title in capitals in title case."""
    bare = word.strip("(),.;:")
    if bare in _ACRONYMS or word.islower():
        return word
    if bare.lower() in _SMALL_WORDS and not is_first:
        return word.lower()
    return re.sub(r"[^\W\d_]+('[A-Z]+)?", lambda part: part[0].capitalize(), word)
