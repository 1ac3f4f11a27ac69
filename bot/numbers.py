"""Numbers as people write them, in a command or in a modal: ``15 %``, ``$1,200``, ``12,50``."""

import re
import unicodedata

from retention.errors import BadInput
from retention.lake.currency import CODES, SHORT
from retention.text import gettext

_SIGNS = "".join(sign for sign in map(chr, range(2**16)) if unicodedata.category(sign) == "Sc")
_CURRENCY = rf"(?:[{re.escape(_SIGNS)}]|{CODES}|{SHORT})"  # before or after the number
_MONEY = re.compile(rf"(?:{_CURRENCY}\s*)?([+-]?[\d.,\s'’]+?)\s*(?:{_CURRENCY})?")
_SPACES = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")  # 1 200 and 1'200
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_COMMA = re.compile(r"[+-]?((\d+|[1-9]\d{0,2}(\.\d{3})+),\d{1,2}|0?,\d+)")
_EITHER = re.compile(
    r"[+-]?[1-9]\d{0,2}\.\d{3}"
)  # 1.200: one and a fifth here, twelve hundred there


def number(typed: str) -> float:
    """Read a number: ``1,200`` is twelve hundred, ``12,50`` twelve and a half.

    Raises
    ------
    BadInput
        It is none.
    """
    text = _SPACES.sub("", typed.strip())
    if _THOUSANDS.fullmatch(text):
        return float(text.replace(",", ""))
    if _COMMA.fullmatch(text):
        return float(text.replace(".", "").replace(",", "."))
    if _PLAIN.fullmatch(text):
        return float(text)
    raise BadInput(gettext("{typed!r} is not a number").format(typed=typed))


def money(typed: str) -> float:
    """An amount with or without a currency beside it: ``$1,200``, ``12,50 €``, ``5 USD``.

    Raises
    ------
    BadInput
        It is none, or it is one amount in one country and another in the next, as ``1.200``.
    """
    bare = _MONEY.fullmatch(typed.strip())
    if bare is None or _EITHER.fullmatch(bare[1]):
        raise BadInput(gettext("{typed!r} is not an amount").format(typed=typed))
    return number(bare[1])


def share(typed: str) -> float:
    """A percentage as a share: ``15``, ``15 %`` and ``15.0%`` are .15."""
    return round(number(typed.strip().removesuffix("%")) / 100, 6)


def between(typed: str, least: float, most: float | None) -> float:
    """A number within bounds."""
    value = number(typed)
    if value < least or (most is not None and value > most):
        raise BadInput(gettext("{typed!r} is out of bounds").format(typed=typed))
    return value


def whole(typed: str, least: int, most: int | None) -> int:
    """A whole number within bounds."""
    value = between(typed, least, most)
    if not value.is_integer():
        raise BadInput(gettext("{typed!r} is not a whole number").format(typed=typed))
    return int(value)
