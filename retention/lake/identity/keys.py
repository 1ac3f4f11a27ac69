"""Normalise e-mail addresses, telephone numbers and attributes.

Fields that the shop made up (``attributes.assumed``) are not keys.
"""
# ruff: noqa: S608 - names are quoted and literals escaped

from __future__ import annotations

from typing import TYPE_CHECKING

from retention.lake.identity.rules import IdentityRules
from retention.lake.mapping import literal

if TYPE_CHECKING:
    from retention.lake.lake import Lake

# ITU-T E.164
CALLING_CODES = {
    "AE": "971",
    "AR": "54",
    "AT": "43",
    "AU": "61",
    "BE": "32",
    "BG": "359",
    "BR": "55",
    "CA": "1",
    "CH": "41",
    "CL": "56",
    "CN": "86",
    "CO": "57",
    "CZ": "420",
    "DE": "49",
    "DK": "45",
    "EE": "372",
    "ES": "34",
    "FI": "358",
    "FR": "33",
    "GB": "44",
    "GR": "30",
    "HK": "852",
    "HR": "385",
    "HU": "36",
    "IE": "353",
    "IL": "972",
    "IN": "91",
    "IT": "39",
    "JP": "81",
    "KR": "82",
    "LT": "370",
    "LU": "352",
    "LV": "371",
    "MX": "52",
    "NL": "31",
    "NO": "47",
    "NZ": "64",
    "PL": "48",
    "PT": "351",
    "RO": "40",
    "RS": "381",
    "RU": "7",
    "SE": "46",
    "SG": "65",
    "SI": "386",
    "SK": "421",
    "TR": "90",
    "UA": "380",
    "UK": "44",
    "US": "1",
    "ZA": "27",
}
# No trunk prefix: a leading zero belongs to the number.
_NO_TRUNK = ("IT", "ES", "DK", "NO", "PL", "PT", "CZ")


def email(column: str, rules: IdentityRules) -> str:
    """Return SQL of a normalised e-mail address.

    Invalid addresses become NULL.

    Parameters
    ----------
    column : str
        SQL of the address.
    rules : IdentityRules
    """
    address = f"lower(trim({column}))"
    local, domain = f"split_part({address}, '@', 1)", f"split_part({address}, '@', 2)"
    without_plus = (
        f"CASE WHEN {domain} IN ({_listed(rules.plus)}) "
        f"THEN split_part({local}, '+', 1) ELSE {local} END"
    )
    name = (
        f"CASE WHEN {domain} IN ({_listed(rules.dots)}) "
        f"THEN replace({without_plus}, '.', '') ELSE {without_plus} END"
    )
    main_domain = f"CASE WHEN {domain} = 'googlemail.com' THEN 'gmail.com' ELSE {domain} END"
    is_valid = f"regexp_matches({address}, '^[^@\\s]+@[^@\\s]+\\.[^@\\s.]+$')"
    return f"CASE WHEN {is_valid} AND {name} <> '' THEN {name} || '@' || {main_domain} END"


def phone(column: str, locale: str, rules: IdentityRules) -> str:
    """Return SQL of a normalised telephone number.

    Invalid numbers become NULL.

    The result is ``+`` and digits, or ``~`` and digits without a country. The country is the
    number's own, else the locale's, else the shop's. Extensions (``x``, ``ext``, ``#``) and the
    apostrophe of spreadsheet exports are removed.

    Parameters
    ----------
    column : str
        SQL of the number.
    locale : str
        SQL of the customer's locale.
    rules : IdentityRules
    """
    bare = f"lower(ltrim(trim({column}), ''''))"
    raw = f"regexp_replace(regexp_replace({bare}, '(ext|x|#).*$', ''), '\\(0\\)', '')"
    digits = f"regexp_replace({raw}, '[^0-9]', '', 'g')"
    locale_country = f"nullif(upper(split_part(replace({locale}, '_', '-'), '-', 2)), '')"
    country = f"coalesce({locale_country}, {literal(rules.country)})"
    codes = ", ".join(f"{literal(name)}: {literal(code)}" for name, code in CALLING_CODES.items())
    code = f"(MAP {{{codes}}})[{country}]"
    national = (
        f"CASE WHEN {country} IN ({_listed(_NO_TRUNK)}) THEN {digits} "
        f"ELSE regexp_replace({digits}, '^0', '') END"
    )
    full = (
        f"CASE WHEN starts_with({raw}, '+') THEN '+' || {digits} "
        f"WHEN starts_with({digits}, '00') THEN '+' || substr({digits}, 3) "
        f"WHEN {code} IS NULL THEN '~' || {digits} "
        f"WHEN starts_with({digits}, {code}) AND length({digits}) >= length({code}) + 9 "
        f"THEN '+' || {digits} "
        f"ELSE '+' || {code} || {national} END"
    )
    is_varied = f"length(replace({digits}, right({digits}, 1), '')) > 1"  # excludes 0000000
    return f"CASE WHEN length({digits}) BETWEEN 7 AND 15 AND {is_varied} THEN {full} END"


def attribute(name: str) -> str:
    """Return SQL of a normalised attribute.

    It is trimmed and in lower case, or NULL.
    """
    return f"nullif(lower(trim(json_extract_string(attributes, {literal('$.' + name)}))), '')"


def key_of(kind: str, rules: IdentityRules) -> str:
    """Return SQL of a customer's key.

    Missing and made-up keys become NULL.

    Parameters
    ----------
    kind : str
        ``email``, ``phone`` or an attribute.
    rules : IdentityRules
    """
    value = {
        "email": lambda: email("email", rules),
        "phone": lambda: phone("phone", "locale", rules),
    }.get(kind, lambda: attribute(kind))()
    return f"CASE WHEN NOT {is_assumed(kind)} THEN {value} END"


def is_assumed(name: str) -> str:
    """Return SQL that detects a made-up field."""
    fields = "json_extract_string(attributes, '$.assumed[*]')"
    return f"coalesce(list_contains({fields}, {literal(name)}), false)"


def kinds(rules: IdentityRules) -> list[str]:
    """Return the key kinds, most reliable first."""
    return [
        *(["email"] if rules.email else []),
        *rules.attributes,
        *(["phone"] if rules.phone else []),
    ]


def collect(lake: Lake, rules: IdentityRules) -> str:
    """Collect the keys of all stored customers.

    Parameters
    ----------
    lake : Lake
    rules : IdentityRules

    Returns
    -------
    str
        Name of the table ``kind, place, key, customer_id, name``.
    """
    customers = lake.table("customers", identity="stored").get_name()
    parts = [
        f"SELECT {literal(kind)} AS kind, {place} AS place, {key_of(kind, rules)} AS key, "
        f'customer_id, name FROM "{customers}"'
        for place, kind in enumerate(kinds(rules))
    ]
    empty = "SELECT '' AS kind, 0 AS place, NULL::VARCHAR AS key, '' AS customer_id, '' AS name"
    union = " UNION ALL ".join(parts or [empty])
    lake.duckdb.execute(
        "CREATE OR REPLACE TEMP TABLE identity_keys AS "
        f"SELECT * FROM ({union}) WHERE key IS NOT NULL"
    )
    return "identity_keys"


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(literal(word) for word in words) or "''"
