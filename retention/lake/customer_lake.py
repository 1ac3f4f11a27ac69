"""Read only the rows of some customers.

All features of ten million events take seconds; a micro-batch of live events touches few customers.
Their stored rows are copied into memory once. Later commits that only add files are read from those
files alone.
"""
# ruff: noqa: S608 - SQL consists of fixed names and of paths written by ourselves

from collections.abc import Callable, Collection
from itertools import count
from typing import Any

from retention.lake.identity.canonical_ids import CUSTOMER_TABLES
from retention.lake.lake import Lake
from retention.lake.schema import EVENTS, SQL_TYPES, Table
from retention.lake.storage import delta_store

MAX_ROWS = 3_000_000  # in memory; with more, the history begins anew
_ROWS, _IDS = "live_history", "live_history_ids"
_NUMBERS = count(1)
_STORED_TYPES = SQL_TYPES | {"moment": "TIMESTAMPTZ"}


class CustomerHistory:
    """The stored events of the customers that were asked for."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._files: frozenset[str] = frozenset()
        self._clear()

    def load(self, ids: Collection[str]) -> None:
        """Make sure that the newest rows of these customers are in memory."""
        con = self._lake.duckdb
        files = frozenset(delta_store.files(delta_store.open_table(self._lake.root, EVENTS)))
        if not self._files <= files or self._count(_ROWS) > MAX_ROWS:
            self._clear()  # files were compacted, or rows were erased
        elif new := sorted(files - self._files):
            self._read(new, _IDS)
        self._files = files
        con.execute("CREATE OR REPLACE TEMP TABLE live_wanted (id VARCHAR)")
        con.execute(
            "INSERT INTO live_wanted SELECT DISTINCT id FROM (SELECT unnest(?) AS id) "
            f"ANTI JOIN {_IDS} USING (id)",
            [list(ids)],
        )
        if self._count("live_wanted"):
            if files:
                self._read(sorted(files), "live_wanted")
            con.execute(f"INSERT INTO {_IDS} FROM live_wanted")

    def _read(self, files: list[str], ids: str) -> None:
        self._lake.duckdb.execute(
            f"INSERT INTO {_ROWS} BY NAME SELECT * FROM {delta_store.rows_sql(EVENTS, files)} "
            f"WHERE customer_id IN (FROM {ids})"
        )

    def _clear(self) -> None:
        columns = ", ".join(
            f"{column.name} {_STORED_TYPES[column.kind]}" for column in EVENTS.columns
        )
        self._lake.duckdb.execute(
            f"CREATE OR REPLACE TEMP TABLE {_ROWS} ({columns}); "
            f"CREATE OR REPLACE TEMP TABLE {_IDS} (id VARCHAR)"
        )
        self._files = frozenset()

    def _count(self, table: str) -> int:
        return int(self._lake.duckdb.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


class CustomerLake(Lake):
    """The lake as far as it concerns some customers.

    ``table`` returns the same rows as that of the whole lake, but only of these customers. Use it
    as a context manager: its views and tables end with it.

    `lake`: the whole lake, whose connection it shares.
    """

    def __init__(self, lake: Lake, history: CustomerHistory, customers: Collection[str]) -> None:
        super().__init__(lake.root, lake.scratch, lake.zone)
        self.__dict__ |= {"con": lake.con, "identities": lake.identities}
        self._whole = lake
        self._prefix = f"live_{next(_NUMBERS)}_"
        people = lake.identities.canonical_ids()
        self.customers = frozenset(people.get(name, name) for name in customers)
        linked = {old for old, canonical in people.items() if canonical in self.customers}
        ids = sorted(self.customers | linked)
        history.load(ids)
        self._ids = f"{self._prefix}ids"
        self.duckdb.execute(
            f"CREATE OR REPLACE TEMP TABLE {self._ids} AS SELECT unnest(?) AS id", [ids]
        )

    @property
    def whole(self) -> Lake:
        """The lake of all customers: what holds for it must not depend on whom a batch touched."""
        return self._whole

    def __enter__(self) -> "CustomerLake":
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the views and tables."""
        drops = [f'DROP VIEW IF EXISTS "{name}"' for name in self._views]
        _version, returns = self._returns
        tables = [self._ids, *((returns.matched, returns.cancelled) if returns else ())]
        drops += [f"DROP TABLE IF EXISTS {table}" for table in tables]
        self.duckdb.execute("; ".join(drops))
        self._views.clear()

    def _rows(
        self, table: Table, delta: Any, partitions: Callable[[str], bool] | None = None
    ) -> str:
        where = f"WHERE customer_id IN (FROM {self._ids})"
        if table is EVENTS:
            return f"(SELECT * FROM {_ROWS} {where})"
        rows = super()._rows(table, delta, partitions)
        if table.name in CUSTOMER_TABLES and rows:
            return f"(SELECT * FROM {rows} {where})"
        return rows
