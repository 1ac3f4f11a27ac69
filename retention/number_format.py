"""Format numbers for people.

Every number in a text for people passes through this module. Babel writes it by the rules of the
present language (Unicode CLDR); all have the same minus sign (U+2212) and rounding. CSV and JSON
keep ASCII.
"""

import re
import unicodedata
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from math import floor
from typing import TYPE_CHECKING

from retention.text import PSEUDO, language, npgettext

if TYPE_CHECKING:
    from babel import Locale

_WORD_JOINER = "\u2060"  # invisible; no line ends here
NUMBER_OF = "number of"  # context of counted nouns in the catalogues
_HYPHEN = "\ue002"  # private use: stands for the hyphens of texts
_FIELD = re.compile(r"%(?:%|[-+ #0]*(?P<width>\d*)(?:\.\d+)?[a-zA-Z])")
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")  # not of an exponent, an id or a range


def with_minus(text: str) -> str:
    """Replace the ASCII minus of formatted numbers by a true one.

    Examples
    --------
    >>> with_minus("-0.012 (-0.020 to +0.004)")
    '−0.012 (−0.020 to +0.004)'
    >>> with_minus("1e-05")
    '1e-05'
    """
    return _MINUS.sub("−", text)


def printf(pattern: str, *values: object) -> str:
    """Format values as ``pattern % values``, with a true minus.

    It is the filter ``format`` of templates. Texts among the values stay as they are. A width
    counts columns of a terminal, of which a Chinese character takes two.

    Examples
    --------
    >>> printf("%+.2f of %s", -0.5, "c-7")
    '−0.50 of c-7'
    >>> printf("%-6s|", "客户"), printf("%6s|", "abc")
    ('客户  |', '   abc|')
    """
    pattern = _narrow(pattern, values)
    texts_marked = tuple(
        value.replace("-", _HYPHEN) if isinstance(value, str) else value for value in values
    )
    return with_minus(pattern % texts_marked).replace(_HYPHEN, "-")


def _narrow(pattern: str, values: tuple[object, ...]) -> str:
    """Narrow the fields of texts by the columns that their wide characters take in addition."""
    if all(not isinstance(value, str) or value.isascii() for value in values):
        return pattern
    left = iter(values)

    def field(match: re.Match[str]) -> str:
        value = None if match[0] == "%%" else next(left, None)
        if not match["width"] or not isinstance(value, str):
            return match[0]
        wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in value)
        width = max(int(match["width"]) - wide, 0)
        return match[0].replace(match["width"], str(width or ""), 1)

    return _FIELD.sub(field, pattern)


def money(amount: Decimal | float | None, currency: str = "", digits: int = 0) -> str:
    """Format money: ``money(1234.5, "USD")`` → ``$1,235``.

    The minus precedes the symbol.

    Currencies without a smaller unit, such as yen, ignore ``digits``. Halves are rounded up.

    `currency`: ISO 4217 code.
    `digits`: digits after the decimal point.
    """
    if amount is None:
        return "–"
    digits = min(digits, _currency_digits(currency)) if currency else digits
    rounded = half_up(amount, digits)
    pattern = _money_pattern(language(), currency, digits)
    text = pattern.replace("#", _grouped(abs(rounded), digits)) if rounded.is_finite() else "–"
    if rounded >= 0:
        return text
    # A line may end between a minus and "$", but not before a digit or a letter.
    return f"−{'' if text[0].isalnum() else _WORD_JOINER}{text}"


def has_no_smaller_unit(currency: str) -> bool:
    """Return whether the currency has whole amounts only, such as yen (Unicode CLDR)."""
    return _currency_digits(currency) == 0


@cache
def _currency_digits(currency: str) -> int:
    from babel.numbers import get_currency_precision

    return get_currency_precision(currency)


@cache
def _locale(name: str) -> "Locale":
    from babel import Locale

    return Locale.parse("en" if name == PSEUDO else name, sep="-")


@cache
def _money_pattern(name: str, currency: str, digits: int) -> str:
    """Return how the language writes an amount: ``#`` stands for the number."""
    if not currency:
        return "#"
    from babel.numbers import format_currency

    zero = format_currency(0, currency, locale=_locale(name), format_type="standard")
    pattern = re.sub(r"[0-9]+([.,][0-9]+)?", "#", zero)
    return re.sub(r"(?<=[A-Z])#", " #", pattern)  # CLDR's rule of spacing, which Babel lacks


def _grouped(number: Decimal | float, digits: int) -> str:
    """Return a number with the language's separators, rounded already."""
    name = language()
    text = f"{number:,.{digits}f}"
    group, decimal = _separators(name)
    return text.replace(",", "\0").replace(".", decimal).replace("\0", group)


@cache
def _separators(name: str) -> tuple[str, str]:
    from babel.numbers import get_decimal_symbol, get_group_symbol

    locale = _locale(name)
    return get_group_symbol(locale), get_decimal_symbol(locale)


def half_up(amount: Decimal | float, digits: int = 0) -> Decimal:
    """Round as people round money: 2.5 is 3, and −2.5 is −3."""
    exact = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    if not exact.is_finite():
        return exact
    return exact.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


def signed(number: float, digits: int = 0) -> str:
    """Format a difference: ``signed(-24.83, 1)`` → ``−24.8``."""
    rounded = _rounded(number, digits)
    return f"{'−' if rounded < 0 else '+'}{_grouped(abs(rounded), digits)}"


def percent(share: float | None, digits: int = 0) -> str:
    """Format a share: ``percent(.256)`` → ``26%``."""
    return "–" if share is None else _with_percent_sign(figure(100 * share, digits))


def exact_percent(share: float) -> str:
    """Format a promised share without rounding. ``exact_percent(.125)`` → ``12.5%``"""
    return _with_percent_sign(with_minus(f"{round(100 * share, 2):g}"))


def percent_limit(share: float) -> str:
    """Format a share, rounded down to 0.1%, so that it is a valid upper limit.

    ``percent_limit(.2579)`` → ``25.7%``
    """
    return exact_percent(floor(1000 * share + 1e-6) / 1000)


def _with_percent_sign(number: str) -> str:
    return f"{number}{_percent_sign(language())}"


@cache
def _percent_sign(name: str) -> str:
    """Return the sign with the language's space: English and Chinese have none."""
    return _locale(name).percent_formats[None].suffix[0]


def figure(number: float, digits: int = 0) -> str:
    """Format a number: ``figure(-0.42, 1)`` → ``−0.4``.

    The minus is a true one. "−0" never appears.
    """
    return with_minus(f"{_rounded(number, digits):.{digits}f}")


def _rounded(number: float, digits: int) -> float:
    return round(float(number), digits) + 0.0  # −0 becomes 0


def count(number: float | None, singular: str = "", plural: str = "") -> str:
    """Format a number with its noun.

    ``count(1234, "customer")`` → ``1,234 customers``

    `singular`, `plural`: the noun. Without ``plural``, "s" is added.
    """
    if number is None:
        return "–"
    noun = ""
    if singular:
        noun = f" {npgettext(NUMBER_OF, singular, plural or singular + 's', number)}"
    rounded = _rounded(number, 0)
    return f"{'−' if rounded < 0 else ''}{_grouped(abs(rounded), 0)}{noun}"
