"""Parse numbers as people write them.

Examples: ``15%``, ``$1,200``, ``12,50``.
"""

import re
import unicodedata
from functools import cache

from retention.errors import BadInput
from retention.text import gettext

_SPACES = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")  # 1 200 and 1'200
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_COMMA = re.compile(r"[+-]?((\d+|[1-9]\d{0,2}(\.\d{3})+),\d{1,2}|0?,\d+)")
# 1.200 is 1.2 in some countries and 1200 in others.
_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")


def parse_number(typed: str) -> float:
    """Parse a number. ``1,200`` is 1200 and ``12,50`` is 12.5."""
    text = _SPACES.sub("", typed.strip())
    if _THOUSANDS.fullmatch(text):
        return float(text.replace(",", ""))
    if _COMMA.fullmatch(text):
        return float(text.replace(".", "").replace(",", "."))
    if _PLAIN.fullmatch(text):
        return float(text)
    raise BadInput(gettext("{typed!r} is not a number").format(typed=typed))


def parse_money(typed: str) -> float:
    """Parse an amount with or without a currency.

    Examples: ``$1,200``, ``12,50 €``, ``5 USD``.

    Raises `BadInput`: the text is not an amount, or it is ambiguous, such as ``1.200``.
    """
    bare = _money_pattern().fullmatch(typed.strip())
    if bare is None or _AMBIGUOUS.fullmatch(bare[1]):
        raise BadInput(gettext("{typed!r} is not an amount").format(typed=typed))
    return parse_number(bare[1])


@cache
def _money_pattern() -> re.Pattern[str]:
    """Match an amount with a currency before or after it.

    It is compiled on first use, because that takes longer than printing the help.
    """
    from retention.lake.importing.single_currency import CODES, SHORT

    signs = "".join(sign for sign in map(chr, range(2**16)) if unicodedata.category(sign) == "Sc")
    currency = rf"(?:[{re.escape(signs)}]|{CODES}|{SHORT})"
    return re.compile(rf"(?:{currency}\s*)?([+-]?[\d.,\s'’]+?)\s*(?:{currency})?")


def parse_percentage(typed: str) -> float:
    """Parse a percentage. ``15``, ``15%`` and ``15.0%`` give 0.15."""
    return round(parse_number(typed.strip().removesuffix("%")) / 100, 6)


def parse_number_between(typed: str, least: float, most: float | None) -> float:
    """Parse a number within bounds."""
    value = parse_number(typed)
    if value < least or (most is not None and value > most):
        raise BadInput(gettext("{typed!r} is out of bounds").format(typed=typed))
    return value


def parse_integer(typed: str, least: int, most: int | None) -> int:
    """Parse a whole number within bounds."""
    value = parse_number_between(typed, least, most)
    if not value.is_integer():
        raise BadInput(gettext("{typed!r} is not a whole number").format(typed=typed))
    return int(value)
