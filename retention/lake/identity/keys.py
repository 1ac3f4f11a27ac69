"""Keys that tell one person from another, in one spelling: SQL over the customers as they are stored.

What the shop says it made up (``attributes.assumed``) is no key.
"""
# ruff: noqa: S608 - names are quoted and literals escaped

from __future__ import annotations

from typing import TYPE_CHECKING

from retention.lake.identity.rules import IdentityRules
from retention.lake.mapping import literal

if TYPE_CHECKING:
    from retention.lake.lake import Lake

# Calling codes (ITU-T E.164) of the countries that a locale may name.
CALLING = {
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
_NO_TRUNK = (
    "IT",
    "ES",
    "DK",
    "NO",
    "PL",
    "PT",
    "CZ",
)  # a leading zero there belongs to the number, or is none


def email(column: str, rules: IdentityRules) -> str:
    """SQL of an e-mail address in one spelling; NULL for what is none."""
    whole = f"lower(trim({column}))"
    local, domain = f"split_part({whole}, '@', 1)", f"split_part({whole}, '@', 2)"
    cut = f"CASE WHEN {domain} IN ({_listed(rules.plus)}) THEN split_part({local}, '+', 1) ELSE {local} END"
    bare = (
        f"CASE WHEN {domain} IN ({_listed(rules.dots)}) THEN replace({cut}, '.', '') ELSE {cut} END"
    )
    one = f"CASE WHEN {domain} = 'googlemail.com' THEN 'gmail.com' ELSE {domain} END"
    valid = f"regexp_matches({whole}, '^[^@\\s]+@[^@\\s]+\\.[^@\\s.]+$')"
    return f"CASE WHEN {valid} AND {bare} <> '' THEN {bare} || '@' || {one} END"


def phone(column: str, locale: str, rules: IdentityRules) -> str:
    """SQL of a telephone number, ``+`` and digits where its country is known, else ``~`` and digits; NULL for what is none.

    The country is the number's own, else the locale's, else the shop's. What follows ``x``, ``ext`` or ``#`` is an
    extension and left out, and so is the apostrophe by which exports keep spreadsheets from reading a formula.
    """
    bare = f"lower(ltrim(trim({column}), ''''))"
    raw = f"regexp_replace(regexp_replace({bare}, '(ext|x|#).*$', ''), '\\(0\\)', '')"
    digits = f"regexp_replace({raw}, '[^0-9]', '', 'g')"
    region = f"coalesce(nullif(upper(split_part(replace({locale}, '_', '-'), '-', 2)), ''), {literal(rules.country)})"
    codes = ", ".join(f"{literal(land)}: {literal(code)}" for land, code in CALLING.items())
    code = f"(MAP {{{codes}}})[{region}]"
    national = f"CASE WHEN {region} IN ({_listed(_NO_TRUNK)}) THEN {digits} ELSE regexp_replace({digits}, '^0', '') END"
    full = (
        f"CASE WHEN starts_with({raw}, '+') THEN '+' || {digits} "
        f"WHEN starts_with({digits}, '00') THEN '+' || substr({digits}, 3) "
        f"WHEN {code} IS NULL THEN '~' || {digits} "
        f"WHEN starts_with({digits}, {code}) AND length({digits}) >= length({code}) + 9 THEN '+' || {digits} "
        f"ELSE '+' || {code} || {national} END"
    )
    varied = f"length(replace({digits}, right({digits}, 1), '')) > 1"  # 0000000 is no number
    return f"CASE WHEN length({digits}) BETWEEN 7 AND 15 AND {varied} THEN {full} END"


def attribute(name: str) -> str:
    """SQL of a customer's attribute as a key: trimmed, in lower case; NULL where it is empty."""
    return f"nullif(lower(trim(json_extract_string(attributes, {literal('$.' + name)}))), '')"


def key_of(kind: str, rules: IdentityRules) -> str:
    """SQL of one kind of key of a customer row; NULL where there is none, or the shop made it up."""
    value = {
        "email": lambda: email("email", rules),
        "phone": lambda: phone("phone", "locale", rules),
    }.get(kind, lambda: attribute(kind))()
    return f"CASE WHEN NOT {assumed(kind)} THEN {value} END"


def assumed(name: str) -> str:
    """SQL of whether the shop made a field of a customer up."""
    return f"coalesce(list_contains(json_extract_string(attributes, '$.assumed[*]'), {literal(name)}), false)"


def kinds(rules: IdentityRules) -> list[str]:
    """The kinds of keys that link, the surest first."""
    return [
        *(["email"] if rules.email else []),
        *rules.attributes,
        *(["phone"] if rules.phone else []),
    ]


def collect(lake: Lake, rules: IdentityRules) -> str:
    """Name of a DuckDB table ``kind, place, key, customer_id, name`` of every key in the stored customers."""
    customers = lake.table("customers", identity="stored").get_name()
    parts = [
        f"SELECT {literal(kind)} AS kind, {place} AS place, {key_of(kind, rules)} AS key, customer_id, name "
        f'FROM "{customers}"'
        for place, kind in enumerate(kinds(rules))
    ]
    none = "SELECT '' AS kind, 0 AS place, NULL::VARCHAR AS key, '' AS customer_id, '' AS name"
    union = " UNION ALL ".join(parts or [none])
    lake.duckdb.execute(
        f"CREATE OR REPLACE TEMP TABLE identity_keys AS SELECT * FROM ({union}) WHERE key IS NOT NULL"
    )
    return "identity_keys"


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(literal(word) for word in words) or "''"
