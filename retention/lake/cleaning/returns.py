"""Match returns to purchases and find cancelled orders.

Nothing is stored. The result is computed once per version of the events and is valid as of any
time. A match uses only data known when the return became known, so later events do not change it.
"""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from retention.lake.schema import EVENT_ID

if TYPE_CHECKING:
    from retention.lake.lake import Lake

MAX_ROUNDS = 50  # returns of one item by one customer; more are not matched
CANCELLED = "cancelled"
RETURN_TYPES = {
    "event_id": "string",
    "customer_id": "string",
    "item_id": "string",
    "order_id": "string",
    "quantity": "float64",
    "known_at": "timestamp(6)",
    "undoes_event_id": "string",
    "undoes_order_id": "string",
}
NO_RETURNS = f"(SELECT {', '.join(f'NULL AS {name}' for name in RETURN_TYPES)} LIMIT 0)"
_MOMENTS = {
    "occurred_at": "make_timestamp(epoch_us(occurred_at))",
    "known_at": (
        "make_timestamp(epoch_us(greatest(occurred_at, coalesce(available_at, occurred_at))))"
    ),
    "superseded_at": "make_timestamp(epoch_us(superseded_at))",
}
_COUNTED_THEN = "coalesce({line}.superseded_at > {at}, true)"  # no newer state was known
# Returned quantity of a line: as stated, else the refund divided by the unit price, else one. It is
# at most the bought quantity, although a refund may be larger.
_WORTH = "coalesce(back.quantity, sold.bought * nullif(back.amount, 0) / nullif(sold.amount, 0), 1)"
_UNITS = "coalesce(back.quantity, least(worth, sold.bought))"
_ENOUGH = 0.99  # of an order's amount, for a refund that names no item


@dataclass(frozen=True, slots=True)
class ReturnTables:
    """Table names of one version's result.

    ``matched`` has the columns `RETURN_TYPES`, ``cancelled`` has key and cancelled_at.
    """

    matched: str
    cancelled: str

    def event_type(self, before: datetime | None) -> str:
        """Return SQL of the event type before a time.

        Purchases of orders cancelled by then have the type ``cancelled``.
        """
        known = f" WHERE cancelled_at < TIMESTAMP '{_naive(before)}'" if before else ""
        return (
            "CASE WHEN event_type = 'purchase' AND hash(customer_id, order_id) IN "
            f"(SELECT key FROM {self.cancelled}{known}) THEN '{CANCELLED}' "
            "ELSE event_type END AS event_type"
        )


def match_returns(con: Any, rows: str, name: str) -> ReturnTables | None:
    """Match the returns of a version of the events.

    A return undoes the latest earlier purchase of the same customer and item with enough left. If
    it names an order, that order comes first. Within an order, the line with exactly the returned
    quantity comes first. Returns are processed in the order in which they became known.

    `rows`: SQL of the version's stored rows; empty without rows.
    """
    if not rows:
        return None
    stored = f"(SELECT * REPLACE ({EVENT_ID} AS event_id) FROM {rows})"
    if not con.execute(f"SELECT 1 FROM {stored} WHERE event_type = 'return' LIMIT 1").fetchall():
        return None
    names = ReturnTables(f"returned_{name}", f"cancelled_{name}")
    _stage(con, stored)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE undone "
        "(event_id VARCHAR, place BIGINT, quantity DOUBLE, known_at TIMESTAMP, turn BIGINT)"
    )
    rounds = con.execute("SELECT coalesce(max(turn), 0) FROM sent_back").fetchall()[0][0]
    for turn in range(1, min(rounds, MAX_ROUNDS) + 1):
        _match_turn(con, turn)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {names.matched} AS "
        "SELECT back.event_id, back.customer_id, back.item_id, back.order_id, "
        "coalesce(undone.quantity, back.quantity, 1) AS quantity, back.known_at, "
        "sold.event_id AS undoes_event_id, sold.order_id AS undoes_order_id "
        "FROM sent_back AS back LEFT JOIN undone USING (event_id) "
        "LEFT JOIN sold ON sold.place = undone.place"
    )
    _find_cancelled(con, stored, names)
    for table in ("sent_back", "sold", "undone"):
        con.execute(f"DROP TABLE {table}")
    return names


def cancelled_orders(lake: "Lake", before: datetime | None) -> list[tuple[str, str]]:
    """Return customer and order ids of cancelled orders.

    Ids are as stored.

    `before`: use only returns known before it.
    """
    events = lake.table("events", before, identity="stored").get_name()
    sql = (
        f"SELECT DISTINCT customer_id, order_id FROM \"{events}\" WHERE event_type = '{CANCELLED}'"
    )
    return lake.duckdb.execute(sql).fetchall()


def _stage(con: Any, stored: str) -> None:
    """Stage the returns and the purchases they may undo.

    Returns are numbered per customer and item. ``pair`` numbers customer and item, ``bill`` numbers
    orders, because they are compared often. ``remain`` is the quantity of a line not returned yet.
    """
    moments = ", ".join(f"{sql} AS {name}" for name, sql in _MOMENTS.items())
    con.execute(
        "CREATE OR REPLACE TEMP TABLE sent_back AS SELECT *, row_number() OVER "
        "(PARTITION BY pair ORDER BY known_at, occurred_at, event_id) AS turn "
        "FROM (SELECT event_id, customer_id, item_id, order_id, "
        "abs(nullif(quantity, 0)) AS quantity, abs(amount) AS amount, "
        f"dense_rank() OVER (ORDER BY customer_id, item_id) AS pair, {moments} "
        f"FROM {stored} WHERE event_type = 'return')"
    )
    con.execute(
        "CREATE OR REPLACE TEMP TABLE sold AS "
        "SELECT row_number() OVER (ORDER BY occurred_at, event_id) AS place, "
        "dense_rank() OVER (ORDER BY coalesce(order_id, event_id)) AS bill, bought AS remain, * "
        "FROM (SELECT event_id, customer_id, item_id, order_id, "
        "coalesce(quantity, 1)::DOUBLE AS bought, abs(amount) AS amount, "
        f"{moments} FROM {stored} WHERE event_type = 'purchase') "
        "JOIN (SELECT DISTINCT customer_id, item_id, pair FROM sent_back "
        "WHERE item_id IS NOT NULL) USING (customer_id, item_id) WHERE bought > 0"
    )


def _match_turn(con: Any, turn: int) -> None:
    """Match one turn's returns with the remaining purchases.

    Each customer and item has one return per turn. The order is chosen first, then its lines: a
    line with exactly the returned quantity, else one with enough, else several if the return has a
    quantity.
    """
    candidates = (
        "SELECT back.event_id, back.known_at, back.quantity, pair, bill, place, remain, "
        f"sold.occurred_at, {_WORTH} AS worth, {_UNITS} AS units, "
        "coalesce(sold.order_id = back.order_id, false) AS named, "
        "remain >= units - 1e-9 AS enough, abs(remain - worth) <= 1e-9 AS just "
        f"FROM sent_back AS back JOIN sold USING (pair) WHERE back.turn = {turn} AND remain > 1e-9 "
        "AND sold.occurred_at <= back.occurred_at AND sold.known_at <= back.known_at "
        f"AND {_COUNTED_THEN.format(line='sold', at='back.known_at')}"
    )
    bills = (
        "SELECT pair, bill, (bool_or(named), max(occurred_at), max(place)) AS rank "
        f"FROM ({candidates}) GROUP BY pair, bill "
        "HAVING bool_or(enough) OR sum(remain) >= max(quantity) - 1e-9"
    )
    chosen = f"SELECT pair, arg_max(bill, rank) AS bill FROM ({bills}) GROUP BY pair"
    lines = (
        "SELECT *, sum(remain) OVER (PARTITION BY pair "
        "ORDER BY just DESC, enough DESC, occurred_at DESC, place DESC) - remain AS before "
        f"FROM ({candidates}) JOIN ({chosen}) USING (pair, bill)"
    )
    con.execute(
        "INSERT INTO undone "
        f"SELECT event_id, place, least(remain, units - before), known_at, {turn} FROM ({lines}) "
        "WHERE before = 0 OR before < quantity - 1e-9"
    )
    con.execute(
        "UPDATE sold SET remain = remain - undone.quantity FROM undone "
        f"WHERE undone.place = sold.place AND undone.turn = {turn}"
    )


def _find_cancelled(con: Any, stored: str, names: ReturnTables) -> None:
    """Find orders that are fully returned or fully refunded.

    They are cancelled from the time when this became known.
    """
    order = "customer_id, order_id"
    returned = (
        "SELECT sold.event_id, customer_id, order_id, max(undone.known_at) AS undone_at "
        "FROM sold JOIN undone USING (place) GROUP BY sold.event_id, customer_id, order_id, bought "
        "HAVING sum(quantity) >= bought - 1e-9"
    )
    con.execute(
        "CREATE OR REPLACE TEMP TABLE lines AS "
        "SELECT line.customer_id, line.order_id, line.amount, "
        f"{_MOMENTS['known_at']} AS known_at, {_MOMENTS['superseded_at']} AS superseded_at, "
        f"returned.undone_at FROM {stored} AS line "
        f"LEFT JOIN ({returned}) AS returned USING (event_id) "
        f"SEMI JOIN (SELECT {order} FROM ({returned}) UNION "
        f"SELECT {order} FROM sent_back WHERE item_id IS NULL) AS few "
        "ON few.customer_id = line.customer_id AND few.order_id = line.order_id "
        "WHERE event_type = 'purchase'"
    )
    counted = _COUNTED_THEN.format(line="lines", at="known_from")
    by_lines = (
        f"SELECT {order}, known_from FROM (SELECT DISTINCT {order}, undone_at AS known_from "
        f"FROM lines WHERE undone_at IS NOT NULL) JOIN lines USING ({order}) GROUP BY ALL "
        f"HAVING count(*) FILTER (known_at <= known_from AND {counted}) "
        f"= count(*) FILTER (undone_at <= known_from AND {counted})"
    )
    by_amount = (
        f"SELECT {order}, known_from FROM (SELECT {order}, amount AS refunded, "
        "known_at AS known_from FROM sent_back WHERE item_id IS NULL) "
        f"JOIN lines USING ({order}) GROUP BY {order}, known_from, refunded "
        f"HAVING refunded >= {_ENOUGH} * sum(amount) FILTER (known_at <= known_from AND {counted})"
    )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {names.cancelled} AS "
        f"SELECT hash({order}) AS key, min(known_from) AS cancelled_at "
        f"FROM ({by_lines} UNION ALL {by_amount}) GROUP BY 1"
    )
    con.execute("DROP TABLE lines")


def _naive(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
