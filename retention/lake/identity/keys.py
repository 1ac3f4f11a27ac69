"""Load the rules for equal customers, and normalise the keys that link them.

Keys are e-mail addresses, telephone numbers and attributes. Fields that the shop made up
(``attributes.assumed``) are not keys.
"""
# ruff: noqa: S608 - names are quoted and literals escaped

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retention.errors import BadInput
from retention.lake.importing.mapping import literal
from retention.policy_file import explain_first_error, read_text, validate_strictly
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.lake import Lake


class IdentityRules(BaseModel):
    """Keys that link customers, and thresholds of similarity.

    They are the section ``[identity]`` of the policy file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    after_import: bool = True  # link equal keys after each import of customers
    email: bool = True
    phone: bool = True
    attributes: tuple[Annotated[str, Field(pattern=r"^\w+$")], ...] = ("loyalty_id",)
    # Of telephone numbers without a country code.
    country: Annotated[str, Field(pattern=r"^([A-Z]{2})?$")] = ""
    dots: tuple[str, ...] = ("gmail.com", "googlemail.com")  # domains that ignore dots
    # Domains that ignore a suffix "+anything".
    plus: tuple[str, ...] = (
        "gmail.com",
        "googlemail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "icloud.com",
        "me.com",
        "fastmail.com",
        "proton.me",
        "protonmail.com",
        "pm.me",
    )
    most_shared: Annotated[int, Field(ge=2, le=100)] = 4  # customers per key; above, it links none
    largest: Annotated[int, Field(ge=2, le=1000)] = 12  # ids per customer without review
    accept: Annotated[float, Field(gt=0, le=1)] = 0.95
    review: Annotated[float, Field(gt=0, le=1)] = 0.7

    @model_validator(mode="after")
    def _in_order(self) -> IdentityRules:
        if self.review > self.accept:
            raise ValueError(f"review ({self.review}) must not be above accept ({self.accept})")
        return self


def load_rules(settings: Settings) -> IdentityRules:
    """Load the policy's rules, or the defaults."""
    if settings.policy is None:
        return IdentityRules()
    try:
        sections = tomllib.loads(read_text(settings.policy))
        return validate_strictly(IdentityRules, sections.get("identity", {}))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        text = gettext("The policy {policy} cannot be read: {error}.")
        raise BadInput(text.format(policy=settings.policy, error=error)) from None
    except ValidationError as error:
        text = gettext("The policy {policy} cannot be used: {fault}.")
        fault = explain_first_error(error, "identity")
        raise BadInput(text.format(policy=settings.policy, fault=fault)) from None


def email(column: str, rules: IdentityRules) -> str:
    """Return SQL of a normalised e-mail address. Invalid addresses become NULL."""
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

    The connection must know `phones.phone_key`. The country is the number's own, else the
    locale's, else the shop's.
    """
    from retention.lake.identity.phones import FUNCTION

    locale_country = f"nullif(upper(split_part(replace({locale}, '_', '-'), '-', 2)), '')"
    country = f"coalesce({locale_country}, {literal(rules.country)})"
    return f"{FUNCTION}({column}, {country})"


def attribute(name: str) -> str:
    """Return SQL of a normalised attribute. It is trimmed and in lower case, or NULL."""
    return f"nullif(lower(trim(json_extract_string(attributes, {literal('$.' + name)}))), '')"


def key_of(kind: str, rules: IdentityRules) -> str:
    """Return SQL of a customer's key.

    Missing and made-up keys become NULL.

    `kind`: ``email``, ``phone`` or an attribute.
    """
    if kind == "email":
        value = email("email", rules)
    else:
        value = phone("phone", "locale", rules) if kind == "phone" else attribute(kind)
    return f"CASE WHEN NOT {is_assumed(kind)} THEN {value} END"


def is_assumed(name: str) -> str:
    """Return SQL that detects a made-up field."""
    fields = "json_extract_string(attributes, '$.assumed[*]')"
    return f"coalesce(list_contains({fields}, {literal(name)}), false)"


def kinds(rules: IdentityRules) -> list[str]:
    """Return the key kinds, most reliable first."""
    first, last = ["email"] if rules.email else [], ["phone"] if rules.phone else []
    return [*first, *rules.attributes, *last]


def collect(lake: Lake, rules: IdentityRules) -> str:
    """Collect the keys of all stored customers.

    Returns: name of the table ``kind, place, key, customer_id, name``.
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
