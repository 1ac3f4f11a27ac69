"""Normalise telephone numbers with Google's libphonenumber (the package phonenumbers)."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

FUNCTION = "phone_key"  # in SQL: phone_key(number, country)
_SHORTEST, _LONGEST = 7, 15  # digits; the longest is ITU-T E.164's


def register(connection: "duckdb.DuckDBPyConnection") -> None:
    """Make ``phone_key(number, country)`` known to a DuckDB connection.

    See `phone_key`. NULL gives NULL; an unknown country is the empty text.
    """
    from duckdb.func import FunctionNullHandling, PythonUDFType

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

    Parameters
    ----------
    number : str
        As a person typed it.
    country : str
        ISO 3166 code, for numbers without a calling code. UK means GB.

    Returns
    -------
    str or None
        ``+`` and digits (E.164), or ``~`` and digits if the country is unknown. None if it is no
        telephone number.

    Examples
    --------
    >>> phone_key("07700 900123", "GB"), phone_key("0044 7700 900123 ext. 2")
    ('+447700900123', '+447700900123')
    >>> phone_key("030 1234567"), phone_key("0000000", "GB")
    ('~0301234567', None)
    """
    import phonenumbers

    typed = number.strip().lstrip("'").strip()
    if typed.startswith("00"):
        typed = f"+{typed[2:]}"
    region = "GB" if country == "UK" else country or None
    try:
        parsed = phonenumbers.parse(typed, region)
    except phonenumbers.NumberParseException:
        # "ZZ" is libphonenumber's region of no country: it only splits off what is no digit.
        digits = phonenumbers.normalize_digits_only(typed.lower().split("x")[0])
        return f"~{digits}" if _is_plausible(digits) else None
    national = str(parsed.national_number)
    if parsed.country_code and not phonenumbers.is_valid_number(parsed):
        # Perhaps the calling code is there and only the plus is missing.
        prefix = str(parsed.country_code)
        if not typed.startswith("+") and national.startswith(prefix):
            whole = phonenumbers.parse(f"+{national}", None)
            parsed = whole if phonenumbers.is_possible_number(whole) else parsed
    if not _is_plausible(national):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def _is_plausible(digits: str) -> bool:
    """Check the length, and that not all digits are equal."""
    return _SHORTEST <= len(digits) <= _LONGEST and len(set(digits)) > 1


def _phone_keys(numbers: Any, countries: Any) -> Any:  # DuckDB evaluates annotations
    import pyarrow as pa

    pairs = zip(numbers.to_pylist(), countries.to_pylist(), strict=True)
    return pa.array(
        [None if number is None else phone_key(number, country or "") for number, country in pairs],
        pa.string(),
    )
