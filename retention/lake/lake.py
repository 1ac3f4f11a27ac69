"""Access the customer data as Ibis tables."""
# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from retention import clock
from retention.db.engine import is_postgres
from retention.errors import BadInput
from retention.lake import coverage
from retention.lake.cleaning.returns import (
    NO_RETURNS,
    RETURN_TYPES,
    ReturnTables,
    cancelled_orders,
    match_returns,
)
from retention.lake.identity import canonical_ids
from retention.lake.importing import single_currency
from retention.lake.item_titles import own_titles
from retention.lake.schema import (
    EVENT_CONTENT,
    EVENT_ID,
    IBIS_TYPES,
    SQL_TYPES,
    TABLES,
    TIMES,
    Column,
    Table,
)
from retention.lake.storage import delta_store
from retention.lake.storage.spark_tables import SparkTables
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import ibis
    import pandas

ENGINES = ("duckdb", "spark")
# Keys in the URL, as in s3://KEY:SECRET@bucket, would be shown and logged.
_STORE_URL = re.compile(r"duckdb\+(s3|gs|abfs)://[\w.-]+(/[\w.=-]+)*/?", re.ASCII)
MAX_MEMORY = 6 * 2**30
CONTAINER_MEMORY = Path("/sys/fs/cgroup/memory.max")
MAX_FRESH_DAYS = 28  # after the newest event, whatever the horizon


@dataclass(frozen=True, slots=True)
class AsOf:
    """Reference time of an evaluation, with an optional note."""

    at: datetime
    note: str


class Lake:
    """The customer data of one installation.

    `zone`: the shop's IANA time zone, for weekdays and hours of features.

    Notes
    -----
    Times in ``table`` are naive UTC (Ibis ``timestamp``): DuckDB subtracts them a hundred times
    faster than zoned ones. Compare them with `naive(moment)`. Do not use a lake in both processes
    of a fork.
    """

    def __init__(
        self,
        root: delta_store.Root,
        scratch: Path,
        zone: str = "UTC",
        spark: SparkTables | None = None,
    ) -> None:
        self.root = root
        self.spark = spark
        if spark:
            spark.people = self.identities.canonical_ids
            spark.cancelled = partial(cancelled_orders, self)
        self.zone = zone
        self.own_titles: Callable[[], dict[str, str]] = dict  # of items, as people set them
        self.derives_relations = False  # from addresses and referral codes
        self.memory_gb: float | None = None  # for DuckDB, which then uses the disk
        self.scratch = scratch
        self.uses_pictures = False  # of products, for lists of new items
        self._views: set[str] = set()
        self._prefix = ""  # of the names of views; several lakes can share a connection
        self._tables = delta_store.TableCache(root)
        self._returns: tuple[int, ReturnTables | None] = (-1, None)
        self._lock = threading.RLock()

    @classmethod
    def open(cls, settings: Settings) -> Lake:
        """Open the installation's lake; it connects at first use.

        Raises `BadInput`: if ``RETENTION_LAKE_URL`` names an unsupported engine.
        """
        engine, _, path = settings.lake_url.partition("://")
        host, spark = "", engine == "spark"
        if spark:
            host, slash, path = path.partition("/")
            path = slash + path
        if settings.lake_store:
            return cls._of(settings, _object_store(settings))
        if engine not in ENGINES or not path.strip("/"):
            text = gettext(
                "RETENTION_LAKE_URL is {lake_url!r}; use duckdb:///path/to/folder, or "
                "spark:///path/to/folder or spark://host:7077/path/to/folder to compute "
                "features with Spark."
            )
            raise BadInput(text.format(lake_url=settings.lake_url))
        root = Path(path).expanduser().absolute()
        reader = SparkTables(root, f"spark://{host}" if host else "") if spark else None
        return cls._of(settings, root, reader)

    @classmethod
    def _of(
        cls, settings: Settings, root: delta_store.Root, spark: SparkTables | None = None
    ) -> Lake:
        lake = cls(root, settings.home / "scratch", settings.timezone, spark)
        lake.own_titles = partial(own_titles, settings)
        lake.derives_relations = settings.derive_relations
        lake.memory_gb = settings.memory_gb
        lake.uses_pictures = bool(settings.product_pictures)
        return lake

    @cached_property
    def con(self) -> Any:
        """The Ibis backend: DuckDB in memory, without extension downloads."""
        import duckdb
        import ibis

        from retention.lake.identity import phones

        memory = int(self.memory_gb * 2**30) if self.memory_gb else usual_memory()
        config: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(self.scratch),
            "memory_limit": f"{memory}B",
            "max_temp_directory_size": f"{_temp_limit(self.scratch)}B",
        }
        raw = duckdb.connect(config=config)
        raw.execute("SET TimeZone = 'UTC'")
        # In a notebook without ipywidgets, DuckDB can show no bar and refuses the setting.
        with suppress(duckdb.InvalidInputException):
            raw.execute("SET enable_progress_bar = false")
        phones.register(raw)
        return ibis.duckdb.from_connection(raw)

    @property
    def duckdb(self) -> Any:
        """The DuckDB connection below Ibis."""
        return self.con.con

    @property
    def whole(self) -> Lake:
        """The lake of all customers."""
        return self

    # ------------------------------------------------------------ reading

    @cached_property
    def identities(self) -> canonical_ids.Identities:
        """Customer identities that follow from the links."""
        return canonical_ids.Identities(self)

    def table(
        self,
        name: str,
        before: datetime | None = None,
        since: datetime | None = None,
        *,
        identity: canonical_ids.Identity = "now",
    ) -> ibis.Table:
        """Return a canonical table with all its typed columns.

        It is empty if nothing was imported. Purchases of an order have the type ``cancelled`` if
        the whole order was cancelled, as known ``before``.

        `name`: ``events``, ``customers``, ``items``, ``treatments``, ``relations`` or ``texts``.
        `before`: events and texts: only those that happened and were known before this time.
        Treatments: only those sent before it.
        `since`: events and texts: only those at or after this time; older files are not opened.
        `identity`: ``"now"``: customer ids follow today's links. A datetime: links as decided by
        then. ``"stored"``: ids as imported.
        Returns: times are naive UTC.
        """
        table = TABLES[name]
        with self._lock:
            people = ""
            if name in canonical_ids.CUSTOMER_TABLES:
                people = self.identities.table(before, identity)
            delta = self._tables.get(table)
            wanted = None
            if name == "events" and (since or before):
                wanted = delta_store.months(since, before)
            undone = self._matched_returns(delta) if name == "events" else None
            computed = {"event_type": undone.event_type(before)} if undone else None
            where = _time_filter(name, since, before)
            view = f"{name}_v{delta_store.version_number(delta)}{people}"
            rows = partial(self._rows, table, delta, wanted)
            return self._view(table, rows, view, where, computed=computed, people=people)

    def returns(self, before: datetime | None = None) -> ibis.Table:
        """Return the returns known before a time.

        Each has the event and order it undoes, if known.
        """
        with self._lock:
            undone = self._matched_returns(self._tables.get(TABLES["events"]))
            rows = (
                f"SELECT {', '.join(RETURN_TYPES)} FROM {undone.matched if undone else NO_RETURNS}"
            )
            limit = ""
            if before:
                limit = f" WHERE known_at < TIMESTAMP '{naive(before).isoformat(sep=' ')}'"
            return self.query(f"{rows}{limit}", RETURN_TYPES)

    def _matched_returns(self, delta: Any) -> ReturnTables | None:
        """Match the returns of a version, once per version."""
        if delta is None:
            return None
        if self._returns[0] != delta.version():
            rows, name = self._rows(TABLES["events"], delta), f"{self._prefix}v{delta.version()}"
            self._returns = delta.version(), match_returns(self.duckdb, rows, name)
        return self._returns[1]

    def _rows(
        self, table: Table, delta: Any, partitions: Callable[[str], bool] | None = None
    ) -> str:
        """Return SQL of a version's stored rows; empty without rows."""
        files = delta_store.files(delta, partitions)
        return delta_store.rows_sql(table, files) if files else ""

    def scores(self, run_id: str) -> ibis.Table:
        """Return the scores of one run's active customers."""
        every = self.all_scores(run_id)
        return every.filter(every.tier.isnull() | (every.tier != "lapsed"))

    def all_scores(self, run_id: str) -> ibis.Table:
        """Return the scores of one run, also those of lapsed customers."""
        table = TABLES["scores"]
        with self._lock:
            delta = self._tables.get(table)
            rows = partial(self._rows, table, delta, _plain_word(run_id).__eq__)
            view = f"scores_{run_id}_v{delta_store.version_number(delta)}"
            return self._view(table, rows, view, computed={"run_id": f"'{run_id}' AS run_id"})

    def _view(
        self,
        table: Table,
        rows_sql: Callable[[], str],
        name: str,
        where: str = "",
        computed: dict[str, str] | None = None,
        people: str = "",
    ) -> ibis.Table:
        name = re.sub(r"\W", "_", f"{self._prefix}{name}{where}")
        if name not in self._views:
            own, stored = computed or {}, rows_sql()
            columns = [
                own[column.name]
                if column.name in own and stored
                else _column_sql(column, bool(stored))
                for column in table.public
            ]
            rows = f"FROM {stored}"
            sql = f"SELECT {', '.join(columns)} {f'{rows} {where}' if stored else 'WHERE false'}"
            if people and stored:
                is_customers = table.name == "customers"
                if is_customers:
                    sql = canonical_ids.merge_customers(sql, people)
                else:
                    sql = canonical_ids.resolve_customers(columns, rows, where, people)
            self.duckdb.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {sql}')
            self._views.add(name)
        public = table.public
        return self._view_table(name, {column.name: IBIS_TYPES[column.kind] for column in public})

    def query(self, sql: str, types: dict[str, str]) -> ibis.Table:
        """Return a SQL query as an Ibis table."""
        name = f"query_{hashlib.md5(sql.encode(), usedforsecurity=False).hexdigest()}"
        with self._lock:
            if name not in self._views:
                self.duckdb.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {sql}')
                self._views.add(name)
        return self._view_table(name, types)

    def _view_table(self, name: str, types: dict[str, str]) -> ibis.Table:
        """Return a view as an Ibis table.

        Asking the engine for its types costs more than a small query.
        """
        import ibis.expr.operations as ops
        from ibis import schema

        return ops.DatabaseTable(
            name=name, schema=schema(types), source=self.con, namespace=ops.Namespace()
        ).to_expr()

    def newest_event(self, before: datetime | None = None) -> datetime | None:
        """Return the newest event time before a moment."""
        return coverage.newest_event(self, before)

    def as_of(
        self, requested: datetime | None, horizon_days: int, model_cutoff: datetime | None = None
    ) -> AsOf:
        """Choose the reference time of an evaluation.

        It is the requested time. By default it is the last moment before business time at which
        the data or the shop's day changed; if the data is stale, the day after it ends. With a long
        horizon, too: each missing month would count as a month of everybody's silence.

        `horizon_days`: prediction horizon in days; data older than this, or than `MAX_FRESH_DAYS`,
        is stale.
        """
        if requested is not None:
            at = requested.astimezone(UTC)
            notes = (
                coverage.staleness_note(self, at, horizon_days),
                coverage.hindsight_note(self, at, model_cutoff),
            )
            return AsOf(at, " ".join(filter(None, notes)))
        now = clock.now()
        latest = self.newest_event(before=now)
        if latest is None:
            raise coverage.no_events_error()
        if latest >= now - timedelta(days=min(horizon_days, MAX_FRESH_DAYS)):
            at = coverage.default_cutoff(self, now)
            return AsOf(at, coverage.staleness_note(self, at, horizon_days))
        at = latest + timedelta(days=1)
        text = gettext(
            "The newest event is of {day:%d %b %Y}, so this is as of the day after, not of today."
        )
        return AsOf(at, text.format(day=self.local(latest)))

    def local(self, moment: datetime) -> datetime:
        """Convert a time to the shop's time zone."""
        return moment.astimezone(ZoneInfo(self.zone))

    def fingerprint(self, cutoff: datetime) -> str:
        """Hash table versions and events before a cutoff. The order of events does not matter."""
        events = self.table("events", cutoff, identity="stored")
        rows, digest = self.duckdb.execute(  # md5 is equal in all versions of DuckDB
            "SELECT count(*), coalesce("
            f"sum(md5_number_lower(concat({', chr(31), '.join(EVENT_CONTENT.values())}))::HUGEINT) "
            f'% 18446744073709551557, 0) FROM "{events.get_name()}"'
        ).fetchall()[0]
        names = ("events", "customers", "items")
        versions = ".".join(str(delta_store.version(self.root, TABLES[name])) for name in names)
        people = self.identities.table(cutoff).removeprefix("people_")
        return f"v{versions} n{rows} h{int(digest):016x}{people and f' i{people}'}"

    def currency(self, settings: Settings) -> str:
        """Return the shop's currency; see `currency.shop_currency`."""
        return single_currency.shop_currency(self, settings)

    # ------------------------------------------------------------ writing

    def write_scores(self, run_id: str, parts: Callable[[], Iterable[pandas.DataFrame]]) -> None:
        """Write or replace the scores of a run, a part at a time, in one commit.

        `parts`: makes frames with columns of the table ``scores``; reasons may be lists, which
        become JSON. One is in memory at a time. It is called again if another writer was faster.
        """
        table, run_id = TABLES["scores"], _plain_word(run_id)

        def rows() -> Any:
            return delta_store.to_reader((part.assign(run_id=run_id) for part in parts()), table)

        with delta_store.locked(self.root, table):
            delta_store.replace_partition(self.root, table, run_id, rows)

    def upsert(self, name: str, frame: pandas.DataFrame) -> None:
        """Update or add rows of a keyed table."""
        table = TABLES[name]
        if not table.keyed:
            raise ValueError(f"{name} has no keyed rows; import them")
        if len(frame):
            with delta_store.locked(self.root, table):
                delta_store.upsert(
                    self.root,
                    table,
                    delta_store.to_arrow(frame.drop_duplicates([*table.key], keep="last"), table),
                )

    def remove(self, name: str, keys: pandas.DataFrame) -> None:
        """Delete rows of a keyed table by key."""
        table = TABLES[name]
        if len(keys):
            with delta_store.locked(self.root, table):
                delta_store.remove(
                    self.root, table, delta_store.to_arrow(keys, table).select(table.key)
                )

    def collect_garbage(self, unwanted: Callable[[set[str]], Collection[str]]) -> list[str]:
        """Delete unwanted scores, compact files, drop unused files.

        `unwanted`: run ids in the lake → those to delete. It is called after the runs were read. So
        a run that begins in the meantime is not among them.
        """
        scores = TABLES["scores"]
        with delta_store.locked(self.root, scores):
            delta = delta_store.open_table(self.root, scores)
            runs = {part["run_id"] for part in delta.partitions()} if delta is not None else set()
            if dropped := sorted(map(_plain_word, unwanted(runs))):
                listed = ", ".join(f"'{run}'" for run in dropped)
                delta_store.delete(self.root, scores, f"run_id IN ({listed})")
        for table in TABLES.values():
            with delta_store.locked(self.root, table):
                delta_store.compact(self.root, table)
        return dropped


def _object_store(settings: Settings) -> delta_store.Root:
    """Return the store of `RETENTION_LAKE_URL`."""
    from retention.lake.storage.object_store import ObjectStore

    if not _STORE_URL.fullmatch(settings.lake_url):
        text = gettext(
            "RETENTION_LAKE_URL names an object store that cannot be used; write it like "
            "duckdb+s3://bucket/prefix, with s3, gs or abfs and without keys."
        )
        raise BadInput(text)
    if not is_postgres(settings):
        text = gettext(
            "RETENTION_LAKE_URL names an object store, which several hosts may share, and SQLite "
            "is of one host alone; set RETENTION_DATABASE_URL to a PostgreSQL database."
        )
        raise BadInput(text)
    return ObjectStore(settings)


def usual_memory() -> int:
    """Return DuckDB's memory limit in bytes, unless a setting names one.

    Several workers share a machine, and Python needs memory, too. A container may use less than its
    machine has.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):  # no control groups, or "max"
        limits.append(int(CONTAINER_MEMORY.read_text()))
    return min(MAX_MEMORY, min(limits) // 2)


def _temp_limit(folder: Path) -> int:
    """Return DuckDB's limit of temporary files in bytes: half of the free disk.

    The database on the same disk must stay writable.
    """
    present = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(present).free // 2


def naive(moment: datetime) -> datetime:
    """Convert a time to naive UTC, as in the lake."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _column_sql(column: Column, stored: bool) -> str:
    if not stored:
        return f"NULL::{SQL_TYPES[column.kind]} AS {column.name}"
    if column.name == "event_id":
        return f"{EVENT_ID} AS event_id"
    if column.kind == "moment":  # stored zoned for all engines; epoch_us costs nothing
        return f"make_timestamp(epoch_us({column.name})) AS {column.name}"
    return f"{column.name}::{SQL_TYPES[column.kind]} AS {column.name}"


def _time_filter(name: str, since: datetime | None, before: datetime | None) -> str:
    if name not in TIMES:
        return ""
    at = TIMES[name]
    conditions = []
    if since is not None:
        conditions.append(f"{at} >= {_sql_time(since)}")
    if before is not None:
        conditions.append(f"{at} < {_sql_time(before)}")
    if before is not None and "available_at" in TABLES[name].names:
        conditions.append(f"(available_at IS NULL OR available_at < {_sql_time(before)})")
    if name == "events":
        later = f" OR superseded_at >= {_sql_time(before)}" if before is not None else ""
        conditions.append(f"(superseded_at IS NULL{later})")
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _sql_time(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{naive(moment).isoformat()}+00'"


def _plain_word(run_id: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,64}", run_id):
        raise ValueError(f"run id {run_id!r} is not a plain word")
    return run_id
