"""Find sales that repeat another line a little later or with a slightly different amount."""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals
from typing import Any

from retention.lake.cleaning.cleaning_rules import NearDuplicate
from retention.lake.schema import EVENT_CONTENT

LINE_COLUMNS = (
    "customer_id, order_id, item_id, event_id, occurred_at, stated_at, "
    f"{EVENT_CONTENT['amount']} AS amount, discount"
)
AMOUNT_UNIT = 10_000  # amounts are integers with four decimals
MAX_LINES = 1_000_000  # sampled to learn the format of the shop's orders
MIN_ORDERS, MIN_SHARE = 20, 0.9
LINE_GROUP = "PARTITION BY alike, order_id, has_id"


def find_near_duplicates(con: Any, rule: NearDuplicate, shop: str) -> None:
    """Find near duplicates among similar lines.

    `con`: DuckDB connection. ``clean_lines`` holds the similar sales: `LINE_COLUMNS`, and their
    rowid among the new ones (place; NULL for stored lines).
    `shop`: SQL of the shop's events, those of the lake first.

    Notes
    -----
    The result is in the table ``clean_near``: place, and whether the amount differs (rounded) or
    only the time.
    """
    con.execute(
        "CREATE OR REPLACE TABLE clean_near AS "
        "SELECT *, event_id IS NOT NULL OR order_id IS NULL AS has_id, "
        f"amount - lag(amount) OVER ({LINE_GROUP} ORDER BY amount) AS gap FROM clean_lines "
        "WHERE item_id IS NOT NULL OR order_id IS NOT NULL "
        f"QUALIFY count(*) OVER ({LINE_GROUP}) > 1"
    )
    if not con.execute("SELECT count(*) FROM clean_near").fetchall()[0][0]:
        con.execute("CREATE OR REPLACE TABLE clean_near (place BIGINT, rounded BOOLEAN)")
        return
    cents = f"greatest({rule.amount * AMOUNT_UNIT}, {rule.share} * abs(amount))"
    seconds = max(rule.seconds, rule.order_seconds) if _has_one_time(con, shop) else rule.seconds
    most = f"CASE WHEN has_id THEN 0 ELSE {cents if _is_listed_once(con, cents) else 0} END"
    near = (
        f"to_microseconds((CASE WHEN has_id THEN {rule.seconds} ELSE {seconds} END "
        "* 1000000)::BIGINT)"
    )
    sql = f"""
        CREATE OR REPLACE TABLE clean_near AS
        WITH priced AS (
            SELECT *, sum((gap <= {most} IS NOT TRUE)::INTEGER)
                OVER ({LINE_GROUP} ORDER BY amount) AS price
            FROM clean_near
        ), pairs AS (
            SELECT place, {near} AS near,
                occurred_at - lag(occurred_at) OVER same AS since,
                lead(occurred_at) OVER same - occurred_at AS until,
                lead(place) OVER same IS NULL AS stored,
                amount <> lag(amount) OVER same
                    AND discount IS NOT DISTINCT FROM lag(discount) OVER same
                    -- else it is the line's newer state
                    AND (stated_at IS NOT DISTINCT FROM lag(stated_at) OVER same
                        OR occurred_at <> lag(occurred_at) OVER same) AS rounded,
                amount <> lead(amount) OVER same AS rounded_next
            FROM priced
            WINDOW same AS (
                PARTITION BY alike, order_id, has_id, price ORDER BY occurred_at, place NULLS FIRST
            )
        )
        SELECT place, rounded FROM pairs
        WHERE place IS NOT NULL AND since <= near AND (rounded OR since > INTERVAL 0 SECOND)
        UNION ALL
        SELECT place, rounded_next FROM pairs
        WHERE place IS NOT NULL AND stored AND until <= near AND until > INTERVAL 0 SECOND
            AND NOT coalesce(since <= near AND (rounded OR since > INTERVAL 0 SECOND), false)
        """
    con.execute(sql)


def _is_listed_once(con: Any, cents: str) -> bool:
    """Return whether an order lists an item once.

    This holds if two lines of an item mostly differ by cents. Otherwise the shop lists an item
    several times per order, for example weighed goods.
    """
    within, beyond = con.execute(
        f"SELECT count(*) FILTER (gap <= {cents}), count(*) FILTER (gap > {cents}) FROM clean_near "
        "WHERE gap > 0 AND NOT has_id"
    ).fetchall()[0]
    return within > beyond


def _has_one_time(con: Any, shop: str) -> bool:
    """Return whether an order's items share one time.

    If a till stamps each item, equal lines are normal.
    """
    sql = f"""
        SELECT count(*), count(*) FILTER (latest = began) FROM (
            SELECT min(first) AS began, max(first) AS latest FROM (
                SELECT customer_id, order_id, item_id, min(occurred_at) AS first FROM (
                    SELECT * FROM ({shop})
                    WHERE event_type = 'purchase' AND order_id IS NOT NULL LIMIT {MAX_LINES}
                ) GROUP BY ALL
            ) GROUP BY customer_id, order_id HAVING count(*) > 1
        )
        """
    orders, at_once = con.execute(sql).fetchall()[0]
    return orders >= MIN_ORDERS and at_once >= MIN_SHARE * orders
