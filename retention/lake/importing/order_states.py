"""Let the newest state of an order count, in whatever order its exports are imported.

A shop's later export says again what an earlier one said of an order, often with another status or
amount. A *state* is what one file says of an order: its sales, and its rows that the map's
``leave_out`` excludes. They are stored with a type of their own, which no reader sees. A state's
version is when the order was last changed (``stated_at`` of the map), else the newest order of the
file. `resolve` compares the states of an order by it, so the result is the same in any order of
import. ``superseded_at`` and ``available_at`` keep when a state was known.

A file of refunds may reach less far than the file of the sales. So a refund or cancellation without
a time of its own ends its line in any version.

Two files can also share the lines of an order. So a state without any item of another one adds to
it, and a state without a sale says nothing of other items.
"""
# ruff: noqa: S608 - SQL consists of names and escaped literals

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from retention import clock
from retention.lake.schema import EVENT_CONTENT, EVENTS
from retention.lake.storage import delta_store

FINAL, PENDING = "cancelled", "pending"  # event types of rows that are left out
UNDATED = "cancelled some time"  # `FINAL` in a file without ``stated_at``
LEFT_OUT = "left_out "  # with the type: `_reason` of a staged row that is left out
LEFT_OUT_TYPES = f"('{FINAL}', '{UNDATED}', '{PENDING}')"
STATE_TYPES = f"('purchase', {LEFT_OUT_TYPES[1:]}"
IS_STATED = "event_type = 'purchase' AND order_id IS NOT NULL"
ORDER = "hash(source, customer_id, order_id, epoch_us(occurred_at))"
LINE = f"hash(event_id, {', '.join(EVENT_CONTENT.values())})"
# Two files with one newest order differ by `STEP`. Versions within `SAME` are those of one file.
STEP, SAME = "INTERVAL 1 MILLISECOND", "INTERVAL 1 SECOND"
_UNKNOWN = "TIMESTAMP '0001-01-01'"  # version of events from before there were versions
_TABLES = ("left_out", "order_stated", "order_held", "order_lines", "order_facts", "order_changes")


class OrderStates:
    """The order states of one import.

    ``is_tracked``: whether an order can have several states in the lake and the files.
    ``is_release``: the rows are lines of files whose other lines are in the lake.
    """

    def __init__(self, con: Any, *, is_tracked: bool, is_release: bool = False) -> None:
        self.con, self.is_tracked, self.is_release = con, is_tracked, is_release
        self.versions: set[datetime] = set()
        self.moved: set[datetime] = set()  # versions that are not the time of a newest order
        self.months: set[str] = set()
        self.superseded_orders = 0
        con.execute("DROP TABLE IF EXISTS left_out")
        con.execute(
            "CREATE OR REPLACE TABLE order_stated "
            "(key UBIGINT, line UBIGINT, stated_at TIMESTAMP, is_moved BOOLEAN)"
        )
        sql = "CREATE OR REPLACE TABLE order_held (key UBIGINT, item VARCHAR, stated_at TIMESTAMP)"
        con.execute(sql)

    def take_left_out(self) -> None:
        """Move the rows that the map leaves out from ``staged`` to ``left_out``."""
        rows = (
            f"SELECT * EXCLUDE (_reason) REPLACE (substr(_reason, {len(LEFT_OUT) + 1}) "
            f"AS event_type) FROM staged WHERE starts_with(_reason, '{LEFT_OUT}')"
        )
        is_sale = (
            f"{IS_STATED} AND customer_id IS NOT NULL "
            f"AND occurred_at <= TIMESTAMP '{clock.wall() + timedelta(days=1):%Y-%m-%d %H:%M:%S}'"
        )
        self.con.execute("CREATE TABLE IF NOT EXISTS left_out AS " + rows + " LIMIT 0")
        self.con.execute(f"INSERT INTO left_out {rows} AND {is_sale} AND superseded_at IS NULL")
        self.con.execute(f"DELETE FROM staged WHERE starts_with(_reason, '{LEFT_OUT}')")

    @property
    def left_out(self) -> list[str]:
        """The table of left-out rows, if there is one."""
        sql = "SELECT table_name FROM duckdb_tables() WHERE table_name = 'left_out'"
        return [name for (name,) in self.con.execute(sql).fetchall()]

    @property
    def can_tell_refunds(self) -> bool:
        """Whether left-out rows alone say something new of orders in the lake."""
        return self.is_tracked and any(
            self.con.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchall() for name in self.left_out
        )

    def date_states(self, newest: datetime | None = None) -> datetime | None:
        """Give the rows of a file the file's version, unless their own is known; return it.

        ``newest`` is the time of the newest order if the staged rows are only a piece of the file.
        """
        tables = ["staged", *self.left_out]
        undated = " UNION ALL ".join(
            f"SELECT occurred_at FROM {name} WHERE stated_at IS NULL AND order_id IS NOT NULL "
            f"AND event_type IN {STATE_TYPES}{' AND _reason IS NULL' if name == 'staged' else ''}"
            for name in tables
        )
        at: datetime | None = newest
        if at is None and not self.is_release:
            at = self.con.execute(f"SELECT max(occurred_at) FROM ({undated})").fetchone()[0]
        if at is None:
            return None
        while newest is None and at in self.versions:
            at += timedelta(milliseconds=1)
            self.moved.add(at)
        self.versions.add(at)
        for name in tables:
            self.con.execute(
                f"UPDATE {name} SET stated_at = TIMESTAMP '{at}', "
                f"event_type = CASE event_type WHEN '{FINAL}' THEN '{UNDATED}' ELSE event_type END "
                f"WHERE stated_at IS NULL AND order_id IS NOT NULL AND event_type IN {STATE_TYPES}"
            )
        return at

    def hold(self, rows: str) -> None:
        """Keep the earlier lines of these rows, which cannot be used."""
        self.con.execute(
            f"INSERT INTO order_held SELECT {ORDER}, coalesce(item_id, ''), stated_at "
            f"FROM (FROM {rows}) WHERE {IS_STATED} AND stated_at IS NOT NULL"
        )

    def note(self, months: Collection[str]) -> None:
        """Note what the staged rows say of which orders."""
        if self.is_tracked:
            self.months.update(months)
            self.con.execute(
                f"INSERT INTO order_stated SELECT {ORDER}, {LINE}, stated_at, "
                f"list_contains({[*map(str, self.moved)]!r}::TIMESTAMP[], stated_at) FROM staged "
                f"WHERE {IS_STATED} AND stated_at IS NOT NULL AND superseded_at IS NULL"
            )

    def stage_left_out(self, stored_files: list[str]) -> bool:
        """Keep the left-out rows that the lake lacks; return whether there are any."""
        if not self.left_out:
            return False
        sql = f"INSERT INTO order_stated SELECT {ORDER}, {LINE}, stated_at, false FROM left_out"
        self.con.execute(sql)
        known = (
            f"WHERE {LINE} NOT IN (SELECT {LINE} FROM {delta_store.rows_sql(EVENTS, stored_files)} "
            f"WHERE event_type IN {LEFT_OUT_TYPES})"
            if stored_files
            else ""
        )
        self.con.execute(
            "CREATE OR REPLACE TABLE left_out AS SELECT * REPLACE (occurred_at AS superseded_at) "
            f"FROM left_out {known} "
            f"QUALIFY row_number() OVER (PARTITION BY {LINE} ORDER BY stated_at DESC) = 1"
        )
        return bool(self.con.execute("SELECT 1 FROM left_out LIMIT 1").fetchall())

    def resolve(self, stored_files: list[str], written: list[str]) -> list[str]:
        """Compare the states of the noted orders; return the files with rows that change.

        The table ``order_changes`` (filename, file_row_number and the new times) has the changes.
        """
        if not self._keep_several_states(stored_files):
            return []
        self._collect([*stored_files, *written], written)
        self._repeat_lines()
        self._part_ties()
        self._compare()
        files = self.con.execute("SELECT DISTINCT filename FROM order_changes ORDER BY 1")
        return [name for (name,) in files.fetchall()]

    def _keep_several_states(self, stored_files: list[str]) -> bool:
        """Forget the orders that have one state only; return whether others are left."""
        several = "SELECT key FROM order_stated GROUP BY key HAVING count(DISTINCT stated_at) > 1"
        if stored_files:
            several += f" UNION SELECT {ORDER} FROM {delta_store.rows_sql(EVENTS, stored_files)}"
        for name in self.left_out:
            several += f" UNION SELECT {ORDER} FROM {name}"
        self.con.execute(f"DELETE FROM order_stated WHERE key NOT IN ({several})")
        return bool(self.con.execute("SELECT 1 FROM order_stated LIMIT 1").fetchall())

    def _collect(self, files: list[str], written: list[str]) -> None:
        """Collect the lines of the noted orders in ``order_lines``."""
        names = ("occurred_at", "available_at", "superseded_at")
        times = ", ".join(f"make_timestamp(epoch_us({name})) AS {name}" for name in names)
        stored = delta_store.rows_sql(EVENTS, files, ", filename = true, file_row_number = true")
        self.con.execute(
            f"CREATE OR REPLACE TABLE order_lines AS SELECT filename, file_row_number, "
            f"list_contains({written!r}::VARCHAR[], filename) AS is_new, "
            f"{ORDER} AS key, {LINE} AS line, coalesce(item_id, '') AS item, event_type, "
            f"abs(coalesce({EVENT_CONTENT['amount']}, 0)) AS money, {times}, "
            f"coalesce(make_timestamp(epoch_us(stated_at)), {_UNKNOWN}) AS stated_at "
            f"FROM {stored} WHERE event_type IN {STATE_TYPES} AND order_id IS NOT NULL "
            f"AND {ORDER} IN (SELECT key FROM order_stated)"
        )

    def _repeat_lines(self) -> None:
        """Note lines that the files have, too: of rows on hold, and next to released rows."""
        lines = (
            "INSERT INTO order_stated SELECT DISTINCT key, line, file.stated_at, false "
            "FROM order_lines AS old JOIN {file} "
            "WHERE event_type = 'purchase' AND superseded_at IS NULL AND {condition}"
        )
        on_hold = "order_held AS file USING (key, item)"
        self.con.execute(lines.format(file=on_hold, condition="old.stated_at < file.stated_at"))
        if self.is_release:
            released = (
                "(SELECT key, stated_at, list(item) AS items FROM order_lines WHERE is_new "
                "GROUP BY ALL) AS file USING (key)"
            )
            condition = (
                "NOT is_new AND NOT list_contains(items, item) "
                "AND abs(epoch_ms(old.stated_at) - epoch_ms(file.stated_at)) < 1000"
            )
            self.con.execute(lines.format(file=released, condition=condition))

    def _part_ties(self) -> None:
        """Part states of equal versions: final ones are newer, else those of this import."""
        sql = f"""
            CREATE OR REPLACE TABLE order_facts AS
            SELECT key, new.stated_at, max(old.stated_at) + {STEP} AS after,
                min(old.stated_at) - {STEP} AS before,
                bool_or(old.event_type = '{FINAL}') AND NOT bool_or(new.event_type = '{FINAL}')
                    AS is_earlier
            FROM order_lines AS new JOIN (
                SELECT * FROM order_lines ANTI JOIN order_stated USING (key, line) WHERE NOT is_new
            ) AS old USING (key)
            WHERE new.is_new AND abs(epoch_ms(new.stated_at) - epoch_ms(old.stated_at)) < 1000
            GROUP BY key, new.stated_at
            """
        self.con.execute(sql)
        for table, condition, moved in (
            ("order_lines", "is_new", ""),
            ("order_stated", "true", "is_moved = true, "),
        ):
            self.con.execute(
                f"UPDATE {table} SET {moved}"
                "stated_at = CASE WHEN is_earlier THEN before ELSE after END "
                f"FROM order_facts WHERE order_facts.key = {table}.key "
                f"AND order_facts.stated_at = {table}.stated_at AND {condition}"
            )

    def _compare(self) -> None:
        """Find the newest state of each order, and the rows that it changes."""
        sql = f"""
            CREATE OR REPLACE TABLE order_facts AS
            WITH said AS (
                SELECT key, line, min(stated_at) AS first_said, max(stated_at) AS last_said,
                    CASE WHEN bool_or(is_moved) THEN INTERVAL 0 SECOND ELSE {SAME} END AS most
                FROM order_stated GROUP BY ALL
            ), lines AS (
                SELECT order_lines.*, last_said IS NOT NULL AS is_said,
                    least(stated_at, first_said) AS first,
                    CASE WHEN last_said - stated_at > most THEN last_said ELSE stated_at END
                        AS last
                FROM order_lines LEFT JOIN said USING (key, line)
            ), versions AS (
                SELECT * FROM (
                    SELECT key, item, event_type, unnest([first, stated_at, last]) AS version
                    FROM lines
                    WHERE event_type <> 'purchase' OR superseded_at IS NULL OR is_said
                ) QUALIFY bool_or(event_type = 'purchase') OVER (PARTITION BY key, version)
            ), whole AS (  -- each state has one of the items
                SELECT key FROM (
                    SELECT key, item, count(DISTINCT version) AS states FROM versions GROUP BY ALL
                ) JOIN (
                    SELECT key, count(DISTINCT version) AS all_states FROM versions GROUP BY ALL
                ) USING (key) GROUP BY key HAVING max(states) = any_value(all_states)
            )
            SELECT lines.*, CASE WHEN whole.key IS NULL THEN item ELSE '' END AS part
            FROM lines LEFT JOIN whole USING (key)
            """
        self.con.execute(sql)
        self.con.execute(
            f"""
            CREATE OR REPLACE TABLE order_changes AS
            WITH versions AS (
                SELECT key, part, list(DISTINCT version) AS versions FROM (
                    SELECT * FROM (
                        SELECT key, part, event_type, unnest([first, stated_at, last]) AS version
                        FROM order_facts
                    ) QUALIFY bool_or(event_type = 'purchase') OVER (PARTITION BY key, version)
                ) GROUP BY ALL
            ), sales AS (
                SELECT *, count(*) OVER (PARTITION BY key, item, last) = 1 AS is_alone
                FROM order_facts WHERE event_type = 'purchase'
            ), left_out AS (  -- of the same line: of several lines of an item, that of the amount
                SELECT sales.filename, sales.file_row_number,
                    min(CASE WHEN row.event_type = '{UNDATED}' THEN greatest(row.first, sales.last)
                        WHEN row.last > sales.last THEN list_min(list_filter(
                            [row.first, row.stated_at, row.last], lambda one: one > sales.last))
                        WHEN row.event_type = '{FINAL}' AND row.last = sales.last THEN row.last
                    END) AS ended,
                    bool_or(row.event_type <> '{UNDATED}' AND row.first < sales.first) AS is_earlier
                FROM sales JOIN order_facts AS row USING (key, item)
                WHERE row.event_type <> 'purchase'
                    AND (is_alone OR row.money IN (0, sales.money))
                GROUP BY ALL
            ), compared AS (
                SELECT filename, file_row_number, key, event_type, occurred_at, first, last, is_new,
                    stated_at AS old_stated, superseded_at AS old_superseded,
                    available_at AS old_available,
                    least(ended, list_min(list_filter(versions, lambda one: one > last))) AS next,
                    coalesce(is_earlier, false)
                        OR len(list_filter(versions, lambda one: one < first)) > 0 AS has_older,
                    last > stated_at AND coalesce(superseded_at <= last, false)
                        AND coalesce(next > last, true) AS is_back
                FROM order_facts LEFT JOIN versions USING (key, part)
                LEFT JOIN left_out USING (filename, file_row_number)
            )
            SELECT filename, file_row_number, key, nullif(last, {_UNKNOWN}) AS stated_at,
                CASE WHEN event_type <> 'purchase' THEN old_superseded
                    WHEN is_back THEN next ELSE least(next, old_superseded) END AS superseded_at,
                CASE WHEN event_type <> 'purchase' THEN old_available
                    WHEN is_back THEN last
                    WHEN has_older AND (is_new OR old_available IS NULL)
                    THEN greatest(old_available, first)
                    WHEN last > old_stated  -- the next import does not know the first version
                    THEN coalesce(old_available, occurred_at) ELSE old_available END
                    AS available_at,
                old_superseded IS NULL AND next IS NOT NULL AND event_type = 'purchase'
                    AS is_superseded
            FROM compared
            WHERE last <> old_stated
                OR superseded_at IS DISTINCT FROM old_superseded
                OR available_at IS DISTINCT FROM old_available
            """
        )
        self.superseded_orders = self.con.execute(
            "SELECT count(DISTINCT key) FROM order_changes WHERE is_superseded"
        ).fetchone()[0]

    def close(self) -> None:
        """Drop the tables."""
        for name in _TABLES:
            self.con.execute(f"DROP TABLE IF EXISTS {name}")


def changed_rows_sql(file: str) -> str:
    """Return SQL of a file's rows with the changes of `OrderStates.resolve`."""
    rows = delta_store.rows_sql(EVENTS, [file], ", filename = true, file_row_number = true")
    times = ", ".join(
        f"CASE WHEN change.key IS NULL THEN make_timestamp(epoch_us(old.{name})) "
        f"ELSE change.{name} END AS {name}"
        for name in ("stated_at", "superseded_at", "available_at")
    )
    return (
        f"(SELECT old.* EXCLUDE (filename, file_row_number) REPLACE ({times}) FROM {rows} AS old "
        "LEFT JOIN order_changes AS change USING (filename, file_row_number) "
        "ORDER BY file_row_number)"
    )
