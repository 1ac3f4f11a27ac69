"""Find order lines repeated with a slightly different time or amount.

A line with a source id, or without an order, may differ only in time and only slightly. Other lines
may also differ by rounding of the amount, unless their discounts differ: an order's discount is
split to the cent. They may differ by the time of a repeated upload. Both apply only if the shop's
orders show that such pairs are unusual.
"""

# ruff: noqa: S608 - SQL is put together from names and numbers of our own
from typing import Any

from retention.lake.cleaning.policy import NearDuplicate
from retention.lake.schema import SAID

LINE = (
    f"customer_id, order_id, item_id, event_id, occurred_at, {SAID['amount']} AS amount, discount"
)
UNIT = 10_000  # amounts are compared as whole numbers of four decimals (`SAID`)
LOOKED_AT = 1_000_000  # lines, to learn how the shop's orders are written
ORDERS, MOST = 20, 0.9
SAME = "PARTITION BY alike, order_id, told"


def find(con: Any, rule: NearDuplicate, shop: str) -> None:
    """Find near duplicates among similar lines.

    Parameters
    ----------
    con
        DuckDB connection. ``clean_lines`` holds the similar sales: `LINE`, and their rowid among
        the new ones (place; NULL for stored lines).
    rule : NearDuplicate
        The limits.
    shop : str
        SQL of the shop's events, those of the lake first.

    Notes ----- The result is in the table ``clean_near``: place, and whether the amount differs
    (rounded) or only the time.
    """
    con.execute(
        "CREATE OR REPLACE TABLE clean_near AS SELECT *, event_id IS NOT NULL OR order_id IS NULL AS told, "
        f"amount - lag(amount) OVER ({SAME} ORDER BY amount) AS gap FROM clean_lines "
        f"WHERE item_id IS NOT NULL OR order_id IS NOT NULL QUALIFY count(*) OVER ({SAME}) > 1"
    )
    if not con.execute("SELECT count(*) FROM clean_near").fetchall()[0][0]:
        con.execute("CREATE OR REPLACE TABLE clean_near (place BIGINT, rounded BOOLEAN)")
        return
    cents = f"greatest({rule.amount * UNIT}, {rule.share} * abs(amount))"
    seconds = max(rule.seconds, rule.order_seconds) if _of_one_moment(con, shop) else rule.seconds
    most = f"CASE WHEN told THEN 0 ELSE {cents if _listed_once(con, cents) else 0} END"
    near = f"to_microseconds((CASE WHEN told THEN {rule.seconds} ELSE {seconds} END * 1000000)::BIGINT)"
    con.execute(
        f"""
        CREATE OR REPLACE TABLE clean_near AS
        WITH priced AS (
            SELECT *, sum((gap <= {most} IS NOT TRUE)::INTEGER) OVER ({SAME} ORDER BY amount) AS price FROM clean_near
        ), pairs AS (
            SELECT place, {near} AS near,
                occurred_at - lag(occurred_at) OVER same AS since, lead(occurred_at) OVER same - occurred_at AS until,
                lead(place) OVER same IS NULL AS stored,
                amount <> lag(amount) OVER same AND discount IS NOT DISTINCT FROM lag(discount) OVER same AS rounded,
                amount <> lead(amount) OVER same AS rounded_next
            FROM priced
            WINDOW same AS (PARTITION BY alike, order_id, told, price ORDER BY occurred_at, place NULLS FIRST)
        )
        SELECT place, rounded FROM pairs WHERE place IS NOT NULL AND since <= near AND (rounded OR since > INTERVAL 0 SECOND)
        UNION ALL
        SELECT place, rounded_next FROM pairs WHERE place IS NOT NULL AND stored AND until <= near AND until > INTERVAL 0 SECOND
            AND NOT coalesce(since <= near AND (rounded OR since > INTERVAL 0 SECOND), false)
        """
    )


def _listed_once(con: Any, cents: str) -> bool:
    """Return whether an order lists an item once.

    This holds if two lines of an item mostly differ by cents. Otherwise the shop lists an item
    several times per order, for example weighed goods.
    """
    within, beyond = con.execute(
        f"SELECT count(*) FILTER (gap <= {cents}), count(*) FILTER (gap > {cents}) FROM clean_near "
        "WHERE gap > 0 AND NOT told"
    ).fetchall()[0]
    return within > beyond


def _of_one_moment(con: Any, shop: str) -> bool:
    """Return whether all items of an order have one time.

    If a till stamps each item, equal lines are normal.
    """
    orders, at_once = con.execute(
        f"""
        SELECT count(*), count(*) FILTER (latest = began) FROM (
            SELECT min(first) AS began, max(first) AS latest FROM (
                SELECT customer_id, order_id, item_id, min(occurred_at) AS first FROM (
                    SELECT * FROM ({shop}) WHERE event_type = 'purchase' AND order_id IS NOT NULL LIMIT {LOOKED_AT}
                ) GROUP BY ALL
            ) GROUP BY customer_id, order_id HAVING count(*) > 1
        )
        """
    ).fetchall()[0]
    return orders >= ORDERS and at_once >= MOST * orders
