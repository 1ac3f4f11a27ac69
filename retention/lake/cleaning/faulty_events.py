"""Find readable events that cannot be right.

They are quarantined before the commit, each with its reason. New events are compared with those in
the lake, and stored events are never checked again. So importing a file twice gives the same
result. Changed rules apply to earlier rows only through `retention data release`.

The module also turns negative sales into returns.
"""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

from dataclasses import dataclass
from typing import Any

from retention.lake.cleaning.cleaning_rules import CleanPolicy, NearDuplicate
from retention.lake.importing.mapping import literal
from retention.lake.importing.quarantine_reasons import Reason, ReasonCode
from retention.lake.schema import EVENT_CONTENT, EVENTS
from retention.lake.storage import delta_store

BROWSING = "('view', 'search', 'cart')"
BECAME_RETURN = "a sale with a negative quantity or amount became a return"
_TABLES = (
    "clean_hashes",
    "clean_alike",
    "clean_lines",
    "clean_near",
    "clean_orders",
    "clean_hours",
    "clean_prices",
)
_ORDER_COLUMNS = (
    "customer_id, order_id, min(occurred_at) AS began, count(*) AS lines, count(item_id) AS named, "
    "count(amount) AS priced, sum(hash(item_id, quantity, amount)) AS signature, "
    "max(abs(amount)) AS dearest, max(discount) AS off"
)
IS_SIMILAR = "rowid IN (SELECT place FROM clean_hashes WHERE alike IN (FROM clean_alike))"
_TEST_PATTERNS = {  # a customer's id may be an e-mail address
    "customer_id": ("customer", "email"),
    "order_id": ("order",),
    "item_id": ("item",),
}
_DAY_US = 86_400_000_000
_TEN_MINUTES = "epoch_us({}) // 600000000"
# Equal for duplicates, and for sales of one customer within ten minutes that differ only in order,
# time and amount. One pass over it finds the candidates of every rule about repetition.
SIMILARITY = (
    f"hash(customer_id, event_type, item_id, {EVENT_CONTENT['quantity']}, "
    f"CASE WHEN event_type = 'purchase' THEN {_TEN_MINUTES.format('occurred_at')} "
    "ELSE epoch_us(occurred_at) END)"
)
_UNIT_PRICE = "(amount + coalesce(discount, 0)) / coalesce(quantity, 1)"
_HAS_UNIT_PRICE = (
    "event_type = 'purchase' AND item_id IS NOT NULL AND amount > 0 AND coalesce(quantity, 1) > 0"
)


def convert_negative_sales(con: Any, relation: str) -> dict[str, int]:
    """Turn purchases with a negative amount into returns."""
    where = (
        "event_type = 'purchase' AND "
        "((quantity < 0 AND coalesce(amount, 0) <= 0) OR (quantity IS NULL AND amount < 0))"
    )
    number = _one(con, f"SELECT count(*) FROM {relation} WHERE {where}")
    if not number:
        return {}
    con.execute(f"UPDATE {relation} SET event_type = 'return' WHERE {where}")
    return {BECAME_RETURN: number}


def find_similar(con: Any, relation: str) -> bool:
    """Find similar events by the hash `SIMILARITY`.

    ``clean_hashes`` then holds the hash of each rowid (place), ``clean_alike`` the repeated hashes.
    """
    con.execute(
        "CREATE OR REPLACE TABLE clean_hashes AS "
        f"SELECT rowid AS place, {SIMILARITY} AS alike FROM {relation}"
    )
    con.execute(
        "CREATE OR REPLACE TABLE clean_alike AS "
        "SELECT alike FROM clean_hashes GROUP BY 1 HAVING count(*) > 1"
    )
    return bool(_one(con, "SELECT count(*) FROM clean_alike"))


def find_faulty(
    con: Any,
    relation: str,
    policy: CleanPolicy,
    *,
    nearby_files: list[str],
    stored_files: list[str],
    known_customers: str | None = None,
) -> dict[str, int]:
    """Find new events that break a cleaning rule.

    Call `find_similar` for the table before.

    Returns: rows by `Reason.key`. The table ``set_aside`` (place, reason; place is the rowid) holds
    them with the first reason that applies. `drop_faulty` deletes it.
    """
    con.execute("CREATE OR REPLACE TABLE set_aside (place BIGINT, reason VARCHAR)")
    if not _one(con, f"SELECT count(*) FROM {relation}"):
        return {}
    rules = _Rules(con, relation, policy, nearby_files, stored_files, known_customers)
    rules.rows()
    rules.ids()
    rules.nothing_paid()
    rules.repetition()
    rules.bots()
    rules.prices()
    con.execute(
        "CREATE OR REPLACE TABLE set_aside AS "
        "SELECT place, arg_min(reason, rowid) AS reason FROM set_aside GROUP BY 1"
    )
    rules.close()
    sql = "SELECT reason, count(*) FROM set_aside GROUP BY 1 ORDER BY 2 DESC, 1"
    rows = con.execute(sql).fetchall()
    return dict(rows)


def drop_faulty(con: Any) -> None:
    """Delete the result of `find_faulty`."""
    con.execute("DROP TABLE IF EXISTS set_aside")


@dataclass(frozen=True, slots=True)
class _Rules:
    """The cleaning rules, in order of priority.

    Each rule first checks cheaply whether it can apply.
    """

    con: Any
    relation: str
    policy: CleanPolicy
    nearby_files: list[str]
    stored_files: list[str]
    known_customers: str | None

    def rows(self) -> None:
        """Check dates, signs and missing values."""
        faults: list[tuple[str, Reason]] = []
        if self.policy.impossible_date.is_active:
            day = self.policy.impossible_date.earliest
            earliest = str(day.year if (day.month, day.day) == (1, 1) else day)
            reason = Reason(ReasonCode.IMPOSSIBLE_DATE, {"earliest": earliest})
            faults.append((f"occurred_at < TIMESTAMP '{day}'", reason))
        if self.policy.negative.is_active:
            contradicts = "event_type = 'purchase' AND (amount < 0 OR quantity < 0)"
            faults.append((contradicts, Reason(ReasonCode.CONTRADICTORY_SIGNS)))
        columns = self.policy.missing.columns
        faults += [(f"{name} IS NULL", Reason.missing(name)) for name in columns]
        for where, reason in faults:
            self._flag_rows(reason, where)

    def ids(self) -> None:
        """Apply rules on ids: placeholders, tests and bookkeeping.

        Only ids that do not begin with a digit are checked; often there are none.
        """
        policy = self.policy
        if policy.placeholder_customer.is_active:
            listed = ", ".join(literal(word.lower()) for word in policy.placeholder_customer.ids)
            where = f"lower(customer_id) IN ({listed})"
            self._by_id("customer_id", where, Reason(ReasonCode.PLACEHOLDER_CUSTOMER))
        if policy.test_order.is_active:
            reason = Reason(ReasonCode.TEST_ORDER)
            for column, patterns in _TEST_PATTERNS.items():
                is_test = " OR ".join(
                    _matches(column, getattr(policy.test_order, name)) for name in patterns
                )
                self._by_id(column, is_test, reason)
            if self.known_customers:
                ids = (
                    f"SELECT customer_id FROM ({self.known_customers}) "
                    f"WHERE {_matches('email', policy.test_order.email)}"
                )
                self._flag_ids("customer_id", ids, reason)
        if policy.bookkeeping.is_active:
            is_bookkeeping = _matches("item_id", policy.bookkeeping.item)
            self._by_id("item_id", is_bookkeeping, Reason(ReasonCode.BOOKKEEPING))

    def nothing_paid(self) -> None:
        """Find orders with free lines only and no discount."""
        if not self.policy.nothing_paid.is_active:
            return
        self._collect_orders(f"SELECT DISTINCT customer_id FROM {self.relation} WHERE amount = 0")
        free = "priced = lines AND dearest = 0 AND coalesce(off, 0) = 0"
        keys = f"SELECT customer_id, order_id FROM clean_orders WHERE {free}"
        self._flag_orders(keys, Reason(ReasonCode.NOTHING_PAID))

    def repetition(self) -> None:
        """Find repeated orders and lines among similar events."""
        if self.nearby_files:
            self.con.execute(
                f"INSERT INTO clean_alike SELECT DISTINCT {SIMILARITY} "
                f"FROM ({_stored(self.nearby_files)}) "
                f"WHERE {SIMILARITY} IN (SELECT alike FROM clean_hashes)"
            )
        if not _one(self.con, "SELECT count(*) FROM clean_alike"):
            return
        sale = "event_type = 'purchase'"
        old = (
            f"SELECT NULL, {LINE_COLUMNS}, {SIMILARITY} FROM ({_stored(self.nearby_files)}) "
            f"WHERE {sale} AND {SIMILARITY} IN (FROM clean_alike)"
        )
        self.con.execute(
            "CREATE OR REPLACE TABLE clean_lines AS "
            f"SELECT rowid AS place, {LINE_COLUMNS}, {SIMILARITY} AS alike "
            f"FROM {self.relation} WHERE {sale} AND {IS_SIMILAR}"
            f"{f' UNION ALL {old}' if self.nearby_files else ''}"
        )
        if self.policy.order_twice.is_active:
            self._repeated_orders(_seconds(self.policy.order_twice.seconds))
        if self.policy.near_duplicate.is_active:
            self._near_duplicates(self.policy.near_duplicate)

    def _repeated_orders(self, interval: str) -> None:
        """Find repeated orders of a customer under another id.

        Times without a time of day cannot show this.
        """
        suspects = (
            "SELECT customer_id FROM (SELECT customer_id, order_id, occurred_at, "
            "lag(order_id) OVER same AS other, lag(occurred_at) OVER same AS earlier "
            "FROM clean_lines "
            "WINDOW same AS (PARTITION BY alike, amount ORDER BY occurred_at, order_id)) "
            f"WHERE other <> order_id AND occurred_at - earlier <= {interval}"
        )
        if not self.con.execute(f"{suspects} LIMIT 1").fetchall() or not self._has_time_of_day():
            return
        self._collect_orders(suspects)
        self._flag_orders(
            "SELECT customer_id, order_id FROM (SELECT *, "
            "lag(began) OVER same AS earlier, lag(order_id) OVER same AS other, "
            "lead(began) OVER same AS later, lead(order_id) OVER same AS next, "
            "lead(fresh) OVER same AS next_fresh "
            "FROM clean_orders WHERE named = lines AND priced = lines WINDOW same AS "
            "(PARTITION BY customer_id, signature, lines, "
            f"{_TEN_MINUTES.format('began')} ORDER BY began, fresh, order_id)) "
            f"WHERE fresh AND ((other <> order_id AND began - earlier <= {interval}) OR "
            f"(NOT next_fresh AND next <> order_id AND later - began <= {interval}))",
            Reason(ReasonCode.DUPLICATE_ORDER),
        )

    def _near_duplicates(self, rule: NearDuplicate) -> None:
        """Find lines of one order that are almost equal."""
        old = f"{_stored(self.nearby_files)} UNION ALL BY NAME " if self.nearby_files else ""
        find_near_duplicates(self.con, rule, f"{old}SELECT * FROM {self.relation}")
        for code, where in (
            (ReasonCode.DUPLICATE_LINE_TIME, "NOT rounded"),
            (ReasonCode.DUPLICATE_LINE_AMOUNT, "rounded"),
        ):
            self._flag(Reason(code), f"SELECT place FROM clean_near WHERE {where}")

    def bots(self) -> None:
        """Find hours with more views than a person can make."""
        rule = self.policy.bot
        if not rule.is_active:
            return
        hour = "date_trunc('hour', occurred_at)"
        self.con.execute(
            f"CREATE OR REPLACE TABLE clean_hours AS SELECT customer_id, {hour} AS hour, "
            "min(occurred_at) AS began, "
            "epoch(max(occurred_at) - min(occurred_at)) AS seconds, count(*) AS events "
            f"FROM {self.relation} WHERE event_type IN {BROWSING} "
            f"GROUP BY ALL HAVING count(*) >= {rule.events}"
        )
        if _one(self.con, "SELECT count(*) FROM clean_hours") and self._has_time_of_day():
            self._flag(
                Reason(ReasonCode.BOT),
                f"SELECT line.rowid FROM {self.relation} AS line SEMI JOIN "
                "(SELECT * FROM clean_hours "
                f"WHERE events > {rule.per_second} * greatest(seconds, 1)) AS busy "
                "ON busy.customer_id = line.customer_id "
                "AND busy.hour = date_trunc('hour', line.occurred_at) "
                f"WHERE event_type IN {BROWSING}",
            )

    def prices(self) -> None:
        """Find unit prices far from the item's usual price.

        Only items with a wide price range are checked in detail.
        """
        rule = self.policy.price
        if not rule.is_active or not self._has_prices():
            return
        sold = (
            f"SELECT item_id, count(*) AS sold, min({_UNIT_PRICE}) AS least, "
            f"max({_UNIT_PRICE}) AS most"
        )
        items = f"{sold} FROM {self.relation} WHERE {_HAS_UNIT_PRICE} GROUP BY 1"
        if self.stored_files:
            # Selecting the items after the grouping takes half the time of selecting their lines.
            items += (
                f" UNION ALL FROM ({sold} FROM ({_stored(self.stored_files)}) "
                f"WHERE {_HAS_UNIT_PRICE} GROUP BY 1) "
                f"SEMI JOIN (SELECT DISTINCT item_id FROM {self.relation}) USING (item_id)"
            )
        is_product = f"NOT {_matches('item_id', self.policy.not_a_product.item)}"
        self.con.execute(
            f"CREATE OR REPLACE TABLE clean_prices AS SELECT item_id FROM ({items}) GROUP BY 1 "
            f"HAVING sum(sold) >= {rule.observations} "
            f"AND max(most) >= {rule.factor} * min(least) AND {is_product}"
        )
        if not _one(self.con, "SELECT count(*) FROM clean_prices"):
            return
        columns = f"item_id, ln({_UNIT_PRICE}) AS price FROM"
        condition = f"WHERE {_HAS_UNIT_PRICE} AND item_id IN (FROM clean_prices)"
        old = ""
        if self.stored_files:
            old = f" UNION ALL SELECT NULL, {columns} ({_stored(self.stored_files)}) {condition}"
        self.con.execute(
            "CREATE OR REPLACE TABLE clean_prices AS SELECT *, median(price) OVER item AS middle "
            f"FROM (SELECT rowid AS place, {columns} {self.relation} {condition}{old}) "
            "WINDOW item AS (PARTITION BY item_id)"
        )
        spread = "1.4826 * median(abs(price - middle)) OVER (PARTITION BY item_id)"
        self._flag(
            Reason(ReasonCode.UNUSUAL_PRICE),
            "SELECT place FROM (SELECT *, "
            "avg(far::INTEGER) OVER (PARTITION BY item_id) AS share FROM (SELECT *, "
            f"abs(price - middle) > greatest({rule.z} * {spread}, ln({rule.factor})) AS far "
            "FROM clean_prices)) "
            f"WHERE far AND share <= {rule.most_share} AND place IS NOT NULL",
        )

    # ------------------------------------------------------------ helpers

    def _has_prices(self) -> bool:
        """Whether a new line has a unit price; a file of redemptions has none."""
        query = f"SELECT 1 FROM {self.relation} WHERE {_HAS_UNIT_PRICE} LIMIT 1"
        return bool(self.con.execute(query).fetchall())

    def _collect_orders(self, customers: str) -> None:
        """Collect some customers' orders in ``clean_orders``."""
        condition = (
            f"SEMI JOIN ({customers}) USING (customer_id) "
            "WHERE event_type = 'purchase' AND order_id IS NOT NULL"
        )
        old = (
            f" UNION ALL SELECT {_ORDER_COLUMNS}, false FROM ({_stored(self.nearby_files)}) "
            f"{condition} GROUP BY customer_id, order_id"
            if self.nearby_files
            else ""
        )
        self.con.execute(
            "CREATE OR REPLACE TABLE clean_orders AS "
            f"SELECT {_ORDER_COLUMNS}, true AS fresh FROM {self.relation} {condition} "
            f"GROUP BY customer_id, order_id{old}"
        )

    def _has_time_of_day(self) -> bool:
        """Return whether times have a time of day.

        Midnight moves by an hour in summer. So two times of day prove nothing.
        """
        rows = f"SELECT occurred_at FROM {self.relation}"
        if self.nearby_files:
            rows += f" UNION ALL SELECT occurred_at FROM ({_stored(self.nearby_files)})"
        times = f"SELECT count(DISTINCT epoch_us(occurred_at) % {_DAY_US}) FROM ({rows})"
        return _one(self.con, times) > 2

    def _by_id(self, column: str, where: str, reason: Reason) -> None:
        ids = (
            f"SELECT DISTINCT {column} FROM {self.relation} WHERE {column} < '0' OR {column} >= ':'"
        )
        self._flag_ids(column, f"SELECT {column} FROM ({ids}) WHERE {where}", reason)

    def _flag_ids(self, column: str, ids: str, reason: Reason) -> None:
        if self.con.execute(f"{ids} LIMIT 1").fetchall():
            self._flag_rows(reason, f"{column} IN ({ids})")

    def _flag_orders(self, keys: str, reason: Reason) -> None:
        self._flag(
            reason,
            f"SELECT line.rowid FROM {self.relation} AS line SEMI JOIN ({keys}) AS bad "
            "ON bad.customer_id = line.customer_id AND bad.order_id = line.order_id",
        )

    def _flag_rows(self, reason: Reason, where: str) -> None:
        self._flag(reason, f"SELECT rowid FROM {self.relation} WHERE {where}")

    def _flag(self, reason: Reason, places: str) -> None:
        key = literal(reason.key)
        self.con.execute(f"INSERT INTO set_aside SELECT *, {key} FROM ({places})")

    def close(self) -> None:
        for name in _TABLES:
            self.con.execute(f"DROP TABLE IF EXISTS {name}")


def _matches(column: str, pattern: str) -> str:
    return f"regexp_full_match({column}, {literal(pattern)}, 'i')"


def _seconds(number: float) -> str:
    return f"INTERVAL '{round(number * 1000)} milliseconds'"


def _one(con: Any, sql: str) -> int:
    return con.execute(sql).fetchall()[0][0]


def _stored(files: list[str]) -> str:
    """Return SQL of stored events with naive times."""
    return (
        "SELECT * REPLACE (make_timestamp(epoch_us(occurred_at)) AS occurred_at) "
        f"FROM {delta_store.rows_sql(EVENTS, files)}"
    )


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
