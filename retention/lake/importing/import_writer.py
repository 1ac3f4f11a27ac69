"""Write imported events and keyed rows.

If a source gives no event id, the id is a hash of the event's content. It is computed on reading
(`schema.EVENT_ID`). Without it a table has a quarter of the size and is written in half the time.
"""
# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from retention.lake.cleaning import faulty_events
from retention.lake.identity import links
from retention.lake.importing.order_states import ORDER, OrderStates, changed_rows_sql
from retention.lake.lake import Lake
from retention.lake.schema import EVENT_CONTENT, EVENT_ID, EVENTS, TEXT_ID, TEXTS, Table
from retention.lake.storage import delta_store

_MONEY = f"hash({EVENT_CONTENT['quantity']}, {EVENT_CONTENT['amount']})"


class EventWriter:
    """Writer of one import's events.

    `root`: place of the Delta tables. The caller holds the table's lock from the first piece to
    `commit`.
    """

    def __init__(
        self, root: delta_store.Root, con: Any, table: Table, states: OrderStates | None = None
    ) -> None:
        self.root, self.con, self.table, self.states = root, con, table, states
        self.has_source_ids = False
        self.pieces = 0
        self.repeated_events = 0  # equal to another event of this import
        self.written: list[tuple[str, Path]] = []

    def stage_new_events(self, has_source_ids: bool) -> str:
        """Return a table of the new staged events.

        Each event is in it once. ``has_source_ids``: the source gives event ids. A line with a
        known id and another amount is new if it states its order anew.
        """
        self.has_source_ids |= has_source_ids
        near, repeated = self.nearby_files("staged"), self._count_repeated_staged()
        self.repeated_events += repeated
        if not near and not repeated:
            return "staged"
        has_ids, lacks_ids = self._id_presence(near)
        by_id = self.has_source_ids or has_ids
        keys = self._identity_sql(by_id)
        named = ", ".join(f"{key} AS key_{place}" for place, key in enumerate(keys))
        same = " AND ".join(
            f"new.key_{place} IS NOT DISTINCT FROM old.key_{place}" for place in range(len(keys))
        )
        parts = ", ".join(f"key_{place}" for place in range(len(keys)))
        once = f"row_number() OVER (PARTITION BY {parts} ORDER BY place) = 1"
        if by_id:
            named += f", {ORDER} AS bill, {_MONEY} AS money"
            same += " AND (new.stated_at IS NULL OR new.bill <> old.bill OR new.money = old.money)"
            once = (
                "row_number() OVER (PARTITION BY key_0, stated_at ORDER BY place) = 1 AND "
                "row_number() OVER (PARTITION BY key_0, CASE WHEN stated_at IS NOT NULL "
                "THEN hash(bill, money) END ORDER BY place) = 1"
            )
        condition = self._comparable_condition() if by_id and lacks_ids else ""
        unknown = ""
        if near:
            old = f"SELECT {named} FROM {_stored(near)} {condition}"
            unknown = f"ANTI JOIN ({old}) AS old ON {same}"
        first = f"QUALIFY {once}" if repeated else ""
        self.con.execute(
            f"CREATE OR REPLACE TABLE fresh AS SELECT {', '.join(self.table.names)} FROM "
            f"(SELECT * EXCLUDE (_reason), rowid AS place, {named} FROM staged) AS new "
            f"{unknown} {first}"
        )
        return "fresh"

    def nearby_files(self, relation: str) -> list[str]:
        """Return the files that may hold these events already.

        All files if the source gives ids. Otherwise only files of the same months, because a hashed
        id includes the time.
        """
        delta = delta_store.open_table(self.root, self.table)
        months = None if self.has_source_ids else self.months(relation).__contains__
        return delta_store.files(delta, months)

    def all_files(self) -> list[str]:
        """Return all files of the lake."""
        return delta_store.files(delta_store.open_table(self.root, self.table))

    def write(self, relation: str) -> None:
        """Write a table's rows to uncommitted files."""
        self.written += delta_store.write_parts(
            self.root, self.table, self.con, relation, self.months(relation), self.pieces
        )
        self.pieces += 1

    def commit(self) -> int:
        """Commit the files; return the number of new events."""
        if self.pieces > 1:
            self._remove_repeated()
        rows = sum(delta_store.row_count(path) for _, path in self.written)
        replaced = self._resolve_states() if self.states else []
        if self.written or replaced:
            delta_store.commit_parts(self.root, self.table, self.written, replaced)
        self.written = []
        return rows

    def note_states(self) -> None:
        """Note what the staged rows say of orders."""
        if self.states and self.states.is_tracked:
            self.states.note(self.months("staged"))

    def _resolve_states(self) -> list[str]:
        """Write the orders' changed rows; return the stored files that they replace."""
        states = self.states
        assert states is not None
        left_out = states.left_out
        months = states.months.union(*(self.months(name) for name in left_out))
        delta = delta_store.open_table(self.root, self.table)
        stored = delta_store.files(delta, months.__contains__)
        if states.stage_left_out(stored):
            self.write("left_out")
        paths = {str(path): (month, path) for month, path in self.written}
        changed = states.resolve(stored, [*paths])
        for file in changed:
            month = paths[file][0] if file in paths else delta_store.partition_value(Path(file))
            root = self.root
            self.written += delta_store.write_parts(
                root, self.table, self.con, changed_rows_sql(file), {month: "true"}, self.pieces
            )
            if file in paths:
                self.written.remove(paths[file])
                paths[file][1].unlink()
        return [file for file in changed if file not in paths]

    def abandon(self) -> None:
        """Delete the files that were not committed."""
        for _, path in self.written:
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------ repeated events

    def _identity_sql(self, has_source_ids: bool) -> list[str]:
        return [EVENT_ID] if has_source_ids else [*EVENT_CONTENT.values()]

    def _count_repeated_staged(self) -> int:
        """Count repeated events in the table ``staged``.

        For hashed ids only similar events need a comparison.
        """
        has_similar = faulty_events.find_similar(self.con, "staged")
        if self.has_source_ids:
            return self._count_repeated("staged")
        similar = f"(SELECT * FROM staged WHERE {faulty_events.IS_SIMILAR})"
        return self._count_repeated(similar) if has_similar else 0

    def _count_repeated(self, relation: str) -> int:
        content = f"hash({', '.join(self._identity_sql(self.has_source_ids))})"
        return self._one(f"SELECT count(*) - count(DISTINCT {content}) FROM {relation}")

    def _id_presence(self, files: list[str]) -> tuple[bool, bool]:
        """Return whether files have and lack source ids. Parquet statistics answer this."""
        if not files:
            return False, False
        has_ids, lacks_ids = self.con.execute(
            "SELECT coalesce(bool_or(stats_null_count IS DISTINCT FROM num_values), false), "
            "coalesce(bool_or(stats_null_count IS DISTINCT FROM 0), false) "
            f"FROM parquet_metadata({files!r}) WHERE path_in_schema = 'event_id'"
        ).fetchall()[0]
        return has_ids, lacks_ids

    def _comparable_condition(self) -> str:
        """Return a condition on possibly equal stored events.

        It saves hashing all stored events. Events without a source id are hashed with their time.
        If staged ids look like hashes, they may come from this lake. Then there is no condition.
        """
        is_hash = "regexp_full_match(event_id, '[0-9a-f]{32}')"
        if self._one(f"SELECT count(*) FROM staged WHERE {is_hash}"):
            return ""
        moments = "SELECT epoch_us(occurred_at) FROM staged WHERE event_id IS NULL"
        return f"WHERE event_id IS NOT NULL OR epoch_us(occurred_at) IN ({moments})"

    def _remove_repeated(self) -> None:
        """Remove repeated events from the written files."""
        groups: dict[str, list[Path]] = {}
        for month, path in self.written:
            groups.setdefault("" if self.has_source_ids else month, []).append(path)
        for paths in groups.values():
            ordered = [str(path) for path in sorted(paths, key=lambda path: path.name)]
            repeated = self._count_repeated(_stored(ordered)) if len(paths) > 1 else 0
            if not repeated:
                continue
            self.repeated_events += repeated
            parts = ", ".join(self._identity_sql(self.has_source_ids))
            if self.has_source_ids:
                parts += f", CASE WHEN stated_at IS NOT NULL THEN hash({ORDER}, {_MONEY}) END"
            numbered = _stored(ordered, ", filename = true, file_row_number = true")
            deduplicated = (
                f"(SELECT * FROM {numbered} QUALIFY row_number() OVER "
                f"(PARTITION BY {parts} ORDER BY parse_filename(filename), file_row_number) = 1)"
            )
            self.written = [each for each in self.written if each[1] not in paths]
            self.write(deduplicated)
            for path in paths:
                path.unlink()

    def months(self, relation: str) -> dict[str, str]:
        """Return the months of events with SQL conditions."""
        begins = self.con.execute(
            "SELECT DISTINCT "
            "date_trunc('month', make_timestamp(epoch_us(occurred_at)))::DATE AS month "
            f"FROM {relation} ORDER BY 1"
        ).fetchall()
        return {
            f"{month:%Y-%m}": (
                f"occurred_at >= DATE '{month}' AND occurred_at < DATE '{month}' + INTERVAL 1 MONTH"
            )
            for (month,) in begins
        }

    def _one(self, sql: str) -> int:
        return int(self.con.execute(sql).fetchall()[0][0])


_stored = partial(delta_store.rows_sql, EVENTS)


def upsert_staged(lake: Lake, table: Table, named: Collection[str]) -> tuple[int, list[str]]:
    """Upsert new or changed rows of ``staged``.

    If a key occurs several times, the last row wins.

    Returns: for customers: ids with new identity keys (`links.ids_with_new_keys`).
    """
    con = lake.duckdb
    if table is TEXTS:
        con.execute(f"UPDATE staged SET text_id = {TEXT_ID}")
    keys = ", ".join(table.key)
    last = (
        "SELECT * EXCLUDE (_reason) FROM staged "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY rowid DESC) = 1"
    )
    known = lake.table(table.name, identity="stored").get_name()
    columns = ", ".join(
        f"new.{name} AS {name}"
        if name in named
        else f"CASE WHEN old.{table.key[0]} IS NULL THEN new.{name} ELSE old.{name} END AS {name}"
        for name in table.names
    )
    on = " AND ".join(f"old.{key} = new.{key}" for key in table.key)
    changed = " OR ".join(f"new.{name} IS DISTINCT FROM old.{name}" for name in sorted(named))
    con.execute(
        f"CREATE OR REPLACE TABLE fresh AS SELECT {columns} FROM ({last}) AS new "
        f'LEFT JOIN "{known}" AS old ON {on} WHERE {changed}'
    )
    accepted = con.execute("SELECT count(*) FROM fresh").fetchall()[0][0]
    is_customers = table.name == "customers"
    new_keys = links.ids_with_new_keys(con, "fresh", known) if is_customers else []
    if accepted:
        stored = ", ".join(delta_store.stored_columns(table).values())
        rows = con.sql(f"SELECT {stored} FROM fresh").to_arrow_reader(250_000)
        delta_store.upsert(lake.root, table, rows)
    return accepted, new_keys
