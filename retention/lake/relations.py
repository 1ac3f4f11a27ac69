"""Read who is related to whom: what was imported, and what addresses and codes say.

Derived relations are computed when they are read, and stored nowhere. So an erased customer or a
corrected address leaves nothing behind.
"""
# ruff: noqa: S608 - names of views, and constants

from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from retention.lake.lake import naive

if TYPE_CHECKING:
    from retention.lake import Lake

SYMMETRIC_KINDS = ("refer", "friend", "household", "gift")
MAX_HOUSEHOLD = 6  # customers of one address; more are an office, a home or a parcel shop
# Keys of a customer's attributes.
ADDRESS = ("address", "street", "address1", "house_number", "postcode", "zip", "city")
STREET = ("address", "street", "address1")  # without one, a city would be a home
GIFT_ADDRESS = ("gift_address", "shipping_address")
CODE, CODE_OF_OTHER = "referral_code", "referred_by"


def relations(lake: "Lake", at: datetime) -> pd.DataFrame:
    """Return the relations known before a moment, in both directions except for followers.

    Derived ones count only if the installation derives them: `Lake.derives_relations`.

    Returns: distinct ``customer_id``, ``other_id`` and ``kind``; nobody is related to themselves.
    """
    stored = f'"{lake.table("relations").get_name()}"'
    moment = f"TIMESTAMP '{naive(at)}'"
    both = ", ".join(f"'{kind}'" for kind in SYMMETRIC_KINDS)
    derived = _derived_sql(lake, at) if lake.derives_relations else ""
    return lake.duckdb.execute(
        f"WITH known AS (SELECT customer_id, other_id, kind FROM {stored} "
        f"WHERE occurred_at IS NULL OR occurred_at < {moment}{derived}) "
        "SELECT DISTINCT * FROM (FROM known UNION ALL SELECT other_id, customer_id, kind "
        f"FROM known WHERE kind IN ({both})) WHERE customer_id <> other_id ORDER BY ALL"
    ).df()


def _derived_sql(lake: "Lake", at: datetime) -> str:
    """Return SQL of households, gift addresses and referrals.

    Both sides must have been known before the moment: by their first event or their account.
    """
    events = f'"{lake.table("events", before=at).get_name()}"'
    people = f'"{lake.table("customers").get_name()}"'
    home = _plain(f"concat_ws(chr(32), {', '.join(_attribute(key) for key in ADDRESS)})")
    street = f"coalesce({', '.join(_attribute(key) for key in STREET)})"
    gift = f"coalesce({', '.join(_attribute(key) for key in GIFT_ADDRESS)})"
    return (
        " UNION ALL SELECT * FROM (WITH began AS (SELECT customer_id, min(occurred_at) AS first "
        f"FROM {events} GROUP BY 1), person AS (SELECT customer_id, "
        f"CASE WHEN {street} IS NOT NULL THEN {home} END AS home, "
        f"{_plain(gift)} AS gift, "
        f"{_plain(_attribute(CODE))} AS code, {_plain(_attribute(CODE_OF_OTHER))} AS by_code "
        f"FROM {people} LEFT JOIN began USING (customer_id) "
        f"WHERE least(first, created_at) < TIMESTAMP '{naive(at)}'), "
        "home AS (SELECT home FROM person WHERE home IS NOT NULL GROUP BY 1 "
        f"HAVING count(*) BETWEEN 1 AND {MAX_HOUSEHOLD}) "
        "SELECT a.customer_id, b.customer_id AS other_id, 'household' AS kind "
        "FROM person a JOIN person b USING (home) WHERE home IN (FROM home) "
        "UNION ALL SELECT a.customer_id, b.customer_id, 'gift' FROM person a "
        "JOIN person b ON a.gift = b.home WHERE b.home IN (FROM home) "
        "UNION ALL SELECT a.customer_id, b.customer_id, 'refer' FROM person a "
        "JOIN person b ON a.code = b.by_code WHERE a.code IN (SELECT code FROM person "
        "GROUP BY 1 HAVING count(*) = 1))"  # a code of several, such as "none", is nobody's
    )


def _attribute(key: str) -> str:
    return f"json_extract_string(try_cast(attributes AS JSON), '$.{key}')"


def _plain(text: str) -> str:
    """Return SQL of a text without case, spaces and punctuation; NULL if nothing is left."""
    return f"nullif(regexp_replace(lower({text}), '[^\\p{{L}}\\p{{N}}]', '', 'g'), '')"
