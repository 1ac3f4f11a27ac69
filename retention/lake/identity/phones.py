"""Normalise telephone numbers with Google's libphonenumber (the package phonenumbers)."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

if TYPE_CHECKING:
    import duckdb
    from phonenumbers import PhoneNumber

FUNCTION = "phone_key"  # in SQL: phone_key(number, country)
_EXTENSION = re.compile("ext|x|#")
_SHORTEST, _LONGEST = 7, 15  # digits; the longest is ITU-T E.164's


def register(connection: "duckdb.DuckDBPyConnection") -> None:
    """Make ``phone_key(number, country)`` known to a DuckDB connection.

    See `phone_key`. NULL gives NULL; an unknown country is the empty text.
    """
    connection.create_function(
        FUNCTION,
        _phone_keys,
        ["VARCHAR", "VARCHAR"],
        "VARCHAR",
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,  # a text that is no number gives NULL
    )


@lru_cache(maxsize=65_536)  # a shop's tables hold the same number many times
def phone_key(number: str, country: str = "") -> str | None:
    """Return a telephone number in a form in which equal numbers are equal.

    Extensions and the apostrophe of spreadsheet exports are removed.

    `country`: ISO 3166 code, for numbers without a calling code. UK means GB.
    Returns: ``+`` and digits (E.164), or ``~`` and digits if the country is unknown. None if it is
    no telephone number.

    Examples
    --------
    >>> phone_key("07700 900123", "GB"), phone_key("0044 7700 900123 ext. 2")
    ('+447700900123', '+447700900123')
    >>> phone_key("030 1234567"), phone_key("0000000", "GB")
    ('~0301234567', None)
    """
    import phonenumbers
    from phonenumbers import PhoneNumberFormat, PhoneNumberType

    typed = _EXTENSION.split(number.strip().lstrip("'").strip().lower())[0]
    digits = phonenumbers.normalize_digits_only(typed)
    if not (_SHORTEST <= len(digits) <= _LONGEST and len(set(digits)) > 1):
        return None
    if typed.startswith("00"):
        typed = f"+{typed[2:]}"
    region = "GB" if country == "UK" else country
    parsed = _parsed(typed, region)
    if parsed is None:
        return f"~{digits}"
    # The plus may be missing: 49170… is a mobile number, although 0491… is an area of Germany.
    code = str(phonenumbers.country_code_for_region(region))
    if typed[:1] not in "+0" and digits.startswith(code):
        whole = _parsed(f"+{digits}", "")
        if whole and phonenumbers.is_valid_number(whole):
            is_mobile = phonenumbers.number_type(whole) == PhoneNumberType.MOBILE
            parsed = whole if is_mobile or not phonenumbers.is_valid_number(parsed) else parsed
    return str(phonenumbers.format_number(parsed, PhoneNumberFormat.E164))


def mobile_number(number: str, country: str = "") -> str:
    """Return a telephone number that a text message can reach.

    Landlines, premium and toll-free numbers cannot. Some countries, such as the United States, do
    not tell mobile numbers from landlines; theirs count.

    `country`: ISO 3166 code, for numbers without a calling code. UK means GB.
    Returns: e.164; empty if the number is not valid, is no mobile number, or its country is
    unknown.

    Examples
    --------
    >>> mobile_number("07400 123456", "GB"), mobile_number("+49 30 901820")
    ('+447400123456', '')
    """
    import phonenumbers
    from phonenumbers import PhoneNumberType

    key = phone_key(number, country) or ""
    parsed = _parsed(key, "") if key.startswith("+") else None
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        return ""
    reachable = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
    return key if phonenumbers.number_type(parsed) in reachable else ""


def _parsed(typed: str, region: str) -> "PhoneNumber | None":
    """Return the number, or None if libphonenumber cannot read it."""
    import phonenumbers

    try:
        return phonenumbers.parse(typed, region or None)
    except phonenumbers.NumberParseException:
        return None


def _phone_keys(numbers: Any, countries: Any) -> Any:  # DuckDB evaluates annotations

    pairs = zip(numbers.to_pylist(), countries.to_pylist(), strict=True)
    return pa.array(
        [None if number is None else phone_key(number, country or "") for number, country in pairs],
        pa.string(),
    )
