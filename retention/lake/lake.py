"""`Lake`: one connection a process, opened at first use; tables as Ibis expressions over Delta's live files."""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from retention import clock
from retention.errors import BadInput
from retention.lake import currency, store
from retention.lake.cleaning.returns import NONE, Returns, cancelled_orders, match
from retention.lake.cleaning.returns import TYPES as RETURN_TYPES
from retention.lake.frames import arrow
from retention.lake.identity.resolve import (
    CUSTOMER_TABLES,
    Identities,
    Identity,
    merge_customers,
    resolve_customers,
)
from retention.lake.schema import EVENT_ID, IBIS_TYPES, SAID, SQL_TYPES, TABLES, Column, Table
from retention.lake.spark import SparkTables
from retention.lake.watermark import newest
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import ibis
    import pandas

ENGINES = ("duckdb", "spark")
MOST_MEMORY = 6 * 2**30


@dataclass(frozen=True, slots=True)
class AsOf:
    """A moment to look from, and a sentence where it is not the one people would expect (else empty)."""

    at: datetime
    note: str


class Lake:
    """The customer data of one installation.

    Parameters
    ----------
    root : Path
        Folder of the Delta tables.
    scratch : Path
        Where DuckDB may spill what does not fit into memory.
    zone : str
        The shop's time zone (IANA): weekdays and hours of features are by its clock.
    spark : SparkTables, optional
        Where features are computed, instead of DuckDB.

    Notes
    -----
    Times in ``table`` are naive UTC (Ibis ``timestamp``): in DuckDB they are a hundred times faster to subtract than
    zoned ones. Compare them with `naive(moment)`. Not for use on both sides of a fork.
    """

    def __init__(
        self, root: Path, scratch: Path, zone: str = "UTC", spark: SparkTables | None = None
    ) -> None:
        self.root = root
        self.spark = spark
        if spark:
            spark.people = self.identities.canonical_ids
            spark.cancelled = partial(cancelled_orders, self)
        self.zone = zone
        self._scratch = scratch
        self._views: set[str] = set()
        self._newest = store.Newest(root)
        self._returns: tuple[int, Returns | None] = (-1, None)
        self._lock = threading.RLock()

    @classmethod
    def open(cls, settings: Settings) -> Lake:
        """The installation's lake; connects at first use.

        Raises
        ------
        BadInput
            Where ``RETENTION_LAKE_URL`` names an engine that is not supported.
        """
        engine, _, path = settings.lake_url.partition("://")
        host, spark = "", engine == "spark"
        if spark:
            host, slash, path = path.partition("/")
            path = slash + path
        if engine not in ENGINES or not path.strip("/"):
            raise BadInput(
                gettext(
                    "RETENTION_LAKE_URL is {lake_url!r}; use duckdb:///path/to/folder, or "
                    "spark:///path/to/folder or spark://host:7077/path/to/folder to compute "
                    "features with Spark."
                ).format(lake_url=settings.lake_url)
            )
        root = Path(path).expanduser().absolute()
        reader = SparkTables(root, f"spark://{host}" if host else "") if spark else None
        return cls(root, settings.home / "scratch", settings.timezone, reader)

    @cached_property
    def con(self) -> Any:
        """The Ibis backend: DuckDB in memory, never fetching an extension."""
        import duckdb
        import ibis

        raw = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "temp_directory": str(self._scratch),
                "memory_limit": f"{_memory()}B",
            }
        )
        raw.execute("SET TimeZone = 'UTC'")
        raw.execute("SET enable_progress_bar = false")
        return ibis.duckdb.from_connection(raw)

    @property
    def duckdb(self) -> Any:
        """The DuckDB connection below Ibis."""
        return self.con.con

    # ------------------------------------------------------------ reading

    @cached_property
    def identities(self) -> Identities:
        """Who is one customer, by the links."""
        return Identities(self)

    def table(
        self,
        name: str,
        before: datetime | None = None,
        since: datetime | None = None,
        *,
        identity: Identity = "now",
    ) -> ibis.Table:
        """A canonical table with all its columns, typed; empty where nothing was imported.

        Purchases of an order that was wholly cancelled, as far as was known ``before``, have the type ``cancelled``.

        Parameters
        ----------
        name : str
            ``events``, ``customers``, ``items`` or ``treatments``.
        before : datetime, optional
            For events: only what had happened, and was known, before this moment; for treatments: what was sent.
        since : datetime, optional
            For events: only what happened at or after this moment; older files are not opened.
        identity : datetime or {"now", "stored"}
            Whose ids: with ``"now"`` every row is of the customer that its id is linked to; with a moment, by the
            links as they had been decided by then; with ``"stored"``, the id that the row came with.
        """
        table = TABLES[name]
        with self._lock:
            people = self.identities.table(before, identity) if name in CUSTOMER_TABLES else ""
            delta = self._newest.of(table)
            wanted = store.months(since, before) if name == "events" and (since or before) else None
            undone = self._undone(delta) if name == "events" else None
            computed = {"event_type": undone.event_type(before)} if undone else None
            where, view = _between(name, since, before), f"{name}_v{store.number(delta)}{people}"
            files = partial(store.files, delta, wanted)
            return self._view(table, files, view, where, computed=computed, people=people)

    def returns(self, before: datetime | None = None) -> ibis.Table:
        """The returns known before a moment, with the event and the order that each undoes, where that is known."""
        with self._lock:
            undone = self._undone(self._newest.of(TABLES["events"]))
            rows = f"SELECT {', '.join(RETURN_TYPES)} FROM {undone.matched if undone else NONE}"
            limit = (
                f" WHERE known_at < TIMESTAMP '{naive(before).isoformat(sep=' ')}'"
                if before
                else ""
            )
            return self.query(f"{rows}{limit}", RETURN_TYPES)

    def _undone(self, delta: Any) -> Returns | None:
        """What the returns of a version of the events undo; worked out once."""
        if delta is None:
            return None
        if self._returns[0] != delta.version():
            self._returns = (
                delta.version(),
                match(self.duckdb, store.files(delta), delta.version()),
            )
        return self._returns[1]

    def scores(self, run_id: str) -> ibis.Table:
        """The scores that one run wrote."""
        table = TABLES["scores"]
        with self._lock:
            delta = self._newest.of(table)
            files = partial(store.files, delta, _word(run_id).__eq__)
            view = f"scores_{run_id}_v{store.number(delta)}"
            return self._view(table, files, view, constant={"run_id": run_id})

    def _view(
        self,
        table: Table,
        files: Callable[[], list[str]],
        name: str,
        where: str = "",
        constant: dict[str, str] | None = None,
        computed: dict[str, str] | None = None,
        people: str = "",
    ) -> ibis.Table:
        name = re.sub(r"\W", "_", f"{name}{where}")
        if name not in self._views:
            own, paths = computed or {}, files()
            columns = [
                own[column.name]
                if column.name in own and paths
                else _read(column, bool(paths), constant or {})
                for column in table.columns
            ]
            rows = f"FROM read_parquet({paths!r}, hive_partitioning = false)"
            sql = f"SELECT {', '.join(columns)} {f'{rows} {where}' if paths else 'WHERE false'}"
            if people and paths:
                is_customers = table.name == "customers"
                sql = (
                    merge_customers(sql, people)
                    if is_customers
                    else resolve_customers(columns, rows, where, people)
                )
            self.duckdb.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {sql}')
            self._views.add(name)
        return self._named(name, {column.name: IBIS_TYPES[column.kind] for column in table.columns})

    def query(self, sql: str, types: dict[str, str]) -> ibis.Table:
        """A query in the engine's own SQL as a table with these Ibis types; nothing is computed until it is executed."""
        name = f"query_{hashlib.md5(sql.encode(), usedforsecurity=False).hexdigest()}"
        with self._lock:
            if name not in self._views:
                self.duckdb.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {sql}')
                self._views.add(name)
        return self._named(name, types)

    def _named(self, name: str, types: dict[str, str]) -> ibis.Table:
        """A view of ours as an Ibis table; to ask the engine for the types of what we wrote costs more than small queries."""
        import ibis.expr.operations as ops
        from ibis import schema

        return ops.DatabaseTable(
            name=name, schema=schema(types), source=self.con, namespace=ops.Namespace()
        ).to_expr()

    def newest_event(self, before: datetime | None = None) -> datetime | None:
        """When the newest event (before a moment) happened."""
        return newest(self, before)

    def as_of(
        self, requested: datetime | None, horizon_days: int, learned_until: datetime | None = None
    ) -> AsOf:
        """The moment to look from: as requested, else business time, else the day after stale data ends.

        ``learned_until`` is the cutoff of the model that will look: of a moment before it the note says so.

        Raises
        ------
        TooLittleData
            Where there are no events at all, or none before the moment.
        """
        from retention.lake import coverage

        if requested is not None:
            at = requested.astimezone(UTC)
            notes = (
                coverage.seen(self, at, horizon_days),
                coverage.hindsight(self, at, learned_until),
            )
            return AsOf(at, " ".join(filter(None, notes)))
        now = clock.now()
        latest = self.newest_event(before=now)
        if latest is None:
            raise coverage.nothing_yet()
        if latest >= now - timedelta(days=horizon_days):
            return AsOf(now, "")
        at = latest + timedelta(days=1)
        return AsOf(
            at,
            f"The newest event is of {self.local(latest):%d %b %Y}, so this is as of the day after, not of today.",
        )

    def local(self, moment: datetime) -> datetime:
        """The moment by the shop's clock, as people are told it."""
        return moment.astimezone(ZoneInfo(self.zone))

    def fingerprint(self, cutoff: datetime) -> str:
        """Versions of the tables, and a hash of what the events before the cutoff say (in any order)."""
        events = self.table("events", cutoff, identity="stored")
        rows, digest = self.duckdb.execute(  # md5, for it is the same in every version of DuckDB
            f"SELECT count(*), coalesce(sum(md5_number_lower(concat({', chr(31), '.join(SAID.values())}))::HUGEINT) "
            f'% 18446744073709551557, 0) FROM "{events.get_name()}"'
        ).fetchall()[0]
        versions = ".".join(
            str(store.version(self.root, TABLES[name])) for name in ("events", "customers", "items")
        )
        people = self.identities.table(cutoff).removeprefix("people_")
        return f"v{versions} n{rows} h{int(digest):016x}{people and f' i{people}'}"

    def currency(self, settings: Settings) -> str:
        """See `currency.of_shop`."""
        return currency.of_shop(self, settings)

    # ------------------------------------------------------------ writing

    def write_scores(self, run_id: str, frame: pandas.DataFrame) -> None:
        """Write a run's scores, in the place of what the same run wrote before. Reasons may be lists: they become JSON."""
        frame = frame.assign(run_id=_word(run_id))
        table = TABLES["scores"]
        with store.locked(self.root, table):
            store.replace_partition(self.root, table, run_id, arrow(frame, table))

    def upsert(self, name: str, frame: pandas.DataFrame) -> None:
        """Update rows of a keyed table by key and add new ones. Columns the frame lacks become missing."""
        table = TABLES[name]
        if not table.keyed:
            raise ValueError(f"{name} has no keyed rows; import them")
        if len(frame):
            with store.locked(self.root, table):
                store.upsert(
                    self.root, table, arrow(frame.drop_duplicates([*table.key], keep="last"), table)
                )

    def remove(self, name: str, keys: pandas.DataFrame) -> None:
        """Delete rows of a keyed table, by the columns of its key."""
        table = TABLES[name]
        if len(keys):
            with store.locked(self.root, table):
                store.remove(self.root, table, arrow(keys, table).select(table.key))

    def collect_garbage(self, unwanted: Callable[[set[str]], Collection[str]]) -> list[str]:
        """Drop the scores of unwanted runs, join small files, drop files nobody reads any more.

        Parameters
        ----------
        unwanted : callable
            Run ids in the lake → those to drop. Asked after the runs were read, so that one that begins meanwhile
            is not among them.

        Returns
        -------
        list of str
            The runs dropped.
        """
        scores = TABLES["scores"]
        with store.locked(self.root, scores):
            delta = store.opened(self.root, scores)
            runs = {part["run_id"] for part in delta.partitions()} if delta is not None else set()
            if gone := sorted(map(_word, unwanted(runs))):
                listed = ", ".join(f"'{run}'" for run in gone)
                store.delete(self.root, scores, f"run_id IN ({listed})")
        for table in TABLES.values():
            with store.locked(self.root, table):
                store.tidy(self.root, table)
        return gone


def _memory() -> int:
    """Bytes DuckDB may take before it spills: several workers share a machine, and Python needs some too."""
    return min(MOST_MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


def naive(moment: datetime) -> datetime:
    """A moment as the lake's columns hold it: UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _read(column: Column, stored: bool, constant: dict[str, str]) -> str:
    if column.name in constant:
        return f"'{constant[column.name]}' AS {column.name}"
    if not stored:
        return f"NULL::{SQL_TYPES[column.kind]} AS {column.name}"
    if column.name == "event_id":
        return f"{EVENT_ID} AS event_id"
    if column.kind == "moment":  # stored zoned, so that every engine agrees; epoch_us costs nothing
        return f"make_timestamp(epoch_us({column.name})) AS {column.name}"
    return f"{column.name}::{SQL_TYPES[column.kind]} AS {column.name}"


def _between(name: str, since: datetime | None, before: datetime | None) -> str:
    if name not in ("events", "treatments"):
        return ""
    at = "sent_at" if name == "treatments" else "occurred_at"
    found = []
    if since is not None:
        found.append(f"{at} >= {_limit(since)}")
    if before is not None:
        found.append(f"{at} < {_limit(before)}")
    if before is not None and name == "events":
        found.append(f"(available_at IS NULL OR available_at < {_limit(before)})")
    return f"WHERE {' AND '.join(found)}" if found else ""


def _limit(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{naive(moment).isoformat()}+00'"


def _word(run_id: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,64}", run_id):
        raise ValueError(f"run id {run_id!r} is not a plain word")
    return run_id
