"""Format numbers for people.

Every number in a text for people passes through this module, so all have the same minus sign
(U+2212) and rounding. CSV and JSON keep ASCII.
"""

import re
from decimal import ROUND_HALF_UP, Decimal
from math import floor

from retention.text import npgettext

_WORD_JOINER = "\u2060"  # invisible; no line ends here
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
# Currencies without a smaller unit (ISO 4217).
WHOLE = frozenset(
    {
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    }
)
NUMBER_OF = "number of"  # context of counted nouns in the catalogues
_HYPHEN = "\ue002"  # private use: stands for the hyphens of texts
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

    It is the filter ``format`` of templates. Texts among the values stay as they are.

    Examples
    --------
    >>> printf("%+.2f of %s", -0.5, "c-7")
    '−0.50 of c-7'
    """
    texts_marked = tuple(
        value.replace("-", _HYPHEN) if isinstance(value, str) else value for value in values
    )
    return with_minus(pattern % texts_marked).replace(_HYPHEN, "-")


def money(amount: Decimal | float | None, currency: str = "", digits: int = 0) -> str:
    """Format money: ``money(1234.5, "USD")`` → ``$1,235``.

    The minus precedes the symbol.

    Currencies without a smaller unit, such as yen, ignore ``digits``. Halves are rounded up.

    Parameters
    ----------
    amount : Decimal, float or None
        None gives "–".
    currency : str
        ISO 4217 code.
    digits : int
        Digits after the decimal point.
    """
    if amount is None:
        return "–"
    digits = 0 if currency in WHOLE else digits
    symbol = _SYMBOLS.get(currency, f"{currency} " if currency else "")
    rounded = _half_up(amount, digits)
    sign = "−" if rounded < 0 else ""
    # A line may end between a minus and "$", but not before a digit or a letter.
    if sign and currency in _SYMBOLS:
        sign += _WORD_JOINER
    return f"{sign}{symbol}{abs(rounded):,.{digits}f}"


def _half_up(amount: Decimal | float, digits: int) -> Decimal:
    """Round as people round money: 2.5 is 3, and −2.5 is −3."""
    exact = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    if not exact.is_finite():
        return exact
    return exact.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


def signed(number: float, digits: int = 0) -> str:
    """Format a difference: ``signed(-24.83, 1)`` → ``−24.8``."""
    return with_minus(f"{_rounded(number, digits):+,.{digits}f}")


def percent(share: float | None, digits: int = 0) -> str:
    """Format a share: ``percent(.256)`` → ``26%``."""
    return "–" if share is None else _with_percent_sign(figure(100 * share, digits))


def exact_percent(share: float) -> str:
    """Format a promised share without rounding.

    ``exact_percent(.125)`` → ``12.5%``
    """
    return _with_percent_sign(with_minus(f"{round(100 * share, 2):g}"))


def percent_limit(share: float) -> str:
    """Format a share, rounded down to 0.1%, so that it is a valid upper limit.

    ``percent_limit(.2579)`` → ``25.7%``
    """
    return exact_percent(floor(1000 * share + 1e-6) / 1000)


def _with_percent_sign(number: str) -> str:
    """Append the sign. English and Chinese write it without a space."""
    return f"{number}%"


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

    Parameters
    ----------
    number : float or None
        None gives "–".
    singular, plural : str
        The noun. Without ``plural``, "s" is added.
    """
    if number is None:
        return "–"
    noun = ""
    if singular:
        noun = f" {npgettext(NUMBER_OF, singular, plural or singular + 's', number)}"
    return with_minus(f"{_rounded(number, 0):,.0f}{noun}")
