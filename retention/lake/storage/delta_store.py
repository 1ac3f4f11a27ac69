"""Read and write Delta tables.

A commit is one file. A process that is killed half-way leaves the previous version. Writers wait
for a lock: of the folder, or among all hosts that share an object store. A conflict is retried.
"""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

import fcntl
import json
import os
import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from retention.lake.importing.mapping import literal
from retention.lake.schema import DELTA_TYPES, LINKS, SQL_TYPES, TABLES, Table
from retention.paths import create_private_folder
from retention.privacy.periods import keep

if TYPE_CHECKING:
    import ibis
    import pandas

    from retention.lake.lake import Lake
    from retention.lake.storage.object_store import ObjectStore

# A folder, or an object store.
Root: TypeAlias = "Path | ObjectStore"

ATTEMPTS = 6
DICTIONARY_LIMIT = 8192  # distinct values per row group; more would slow writing
ROW_GROUP = 61_440  # rows; with twice as many, order ids exceed the dictionary and load slower


@contextmanager
def locked(root: Root, table: Table) -> Iterator[None]:
    """Hold the table's writer lock. The lock ends with the process."""
    if not isinstance(root, Path):
        with root.locked(table):
            yield
        return
    folder = create_private_folder(root / ".locks")
    with (folder / table.name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def open_table(root: Root, table: Table) -> Any | None:
    """Open the newest version of a table.

    Returns: none if the table was never written.
    """
    from deltalake import DeltaTable

    if not isinstance(root, Path):
        return root.open_table(table)
    path = root / table.name
    if (path / "_delta_log").is_dir() and DeltaTable.is_deltatable(str(path)):
        return DeltaTable(path)
    return None


def newest_commit(root: Root, table: Table) -> str:
    """Return the file name of a table's newest commit.

    Opening a table costs a hundred times as much.

    Returns: empty if the table was never written.
    """
    if not isinstance(root, Path):
        return root.newest_commit(table)
    try:
        names = os.listdir(root / table.name / "_delta_log")
    except FileNotFoundError:
        return ""
    return max((name for name in names if name.endswith(".json")), default="")


def version(root: Root, table: Table) -> int:
    """Return the newest version number, or -1.

    Returns: -1 if the table was never written.
    """
    return version_number(open_table(root, table))


def version_number(delta: Any | None) -> int:
    """Return an opened table's version number, or -1."""
    return -1 if delta is None else int(delta.version())


class TableCache:
    """Cache the newest version of each table."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._opened: dict[str, tuple[str, Any]] = {}

    def get(self, table: Table) -> Any | None:
        """Return the newest version of a table, or None."""
        commit = newest_commit(self._root, table)
        if table.name not in self._opened or self._opened[table.name][0] != commit:
            self._opened[table.name] = commit, open_table(self._root, table)
        delta = self._opened[table.name][1]
        if delta is not None and not isinstance(self._root, Path):
            self._root.keep(table, delta)
        return delta


def months(since: datetime | None, before: datetime | None) -> Callable[[str], bool]:
    """Return a predicate for months in a time range.

    Returns: for `files`; it gets a month like ``2025-01``.
    """
    first = "" if since is None else f"{since.astimezone(UTC):%Y-%m}"
    last = "9999-12" if before is None else f"{before.astimezone(UTC):%Y-%m}"
    return lambda month: first <= month <= last


def files(delta: Any | None, partitions: Callable[[str], bool] | None = None) -> list[str]:
    """Return paths of a version's live files.

    Returns: sorted paths; empty without a version.
    """
    if delta is None:
        return []
    store = getattr(delta, "store", None)
    if partitions is None:
        return store.copies(delta) if store else sorted(delta.file_uris())
    actions = delta.get_add_actions(flatten=True)
    names = "path", f"partition.{delta.metadata().partition_columns[0]}"
    rows = zip(*(actions.column(name).to_pylist() for name in names), strict=True)
    if store:
        return store.copies(delta, [path for path, value in rows if partitions(value)])
    root = delta.table_uri.removeprefix("file://").rstrip("/")
    return sorted(f"{root}/{path}" for path, value in rows if partitions(value))


def append(root: Root, table: Table, rows: Any) -> None:
    """Append rows in one commit."""
    _write(root, table, rows, mode="append")


def _write(root: Root, table: Table, rows: Any, **how: Any) -> None:
    from deltalake import write_deltalake

    how["partition_by"] = [table.partition] if table.partition else None
    how["writer_properties"] = writer_properties()
    place, options = _place(root, table)
    how["storage_options"] = options
    _retry(lambda: write_deltalake(place, rows() if callable(rows) else rows, **how))


def _place(root: Root, table: Table) -> tuple[str, dict[str, str] | None]:
    """Return where delta-rs finds a table, and the options of its object store."""
    if isinstance(root, Path):
        return str(root / table.name), None
    return root.uri(table), root.options


def write_parts(
    root: Root, table: Table, con: Any, relation: str, parts: dict[str, str], number: int
) -> list[tuple[str, Path]]:
    """Write a DuckDB relation to files per partition.

    No table version includes the files until `commit_parts`.

    `relation`: the rows; not a TEMP table because other cursors read it.
    `number`: sequence number in the file names, so files sort in writing order.
    Returns: partition value and path of each file. After an error all files are removed.
    """
    column = table.partition
    assert column is not None
    columns = ", ".join(stored_columns(table).values())
    paths = {
        value: (root if isinstance(root, Path) else root.staged)
        / table.name
        / f"{column}={value}"
        / f"part-{number:05}-{uuid.uuid4().hex}.parquet"
        for value in parts
    }

    def write(part: tuple[str, str]) -> tuple[str, Path]:
        value, condition = part
        create_private_folder(paths[value].parent)
        con.cursor().execute(
            f"COPY (SELECT {columns} FROM {relation} WHERE {condition}) TO {literal(paths[value])} "
            f"(FORMAT parquet, DICTIONARY_SIZE_LIMIT {DICTIONARY_LIMIT}, "
            f"ROW_GROUP_SIZE {ROW_GROUP})"
        )
        return value, paths[value]

    try:
        with _single_threaded(con) as cores, ThreadPoolExecutor(cores) as threads:
            return [each for each in threads.map(write, parts.items()) if row_count(each[1])]
    except BaseException:  # often a full disk; a partial file would block a retry
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise


def rows_sql(table: Table, files: list[str], options: str = "") -> str:
    """Return SQL of the rows of stored files."""
    if not table.later:
        return f"read_parquet({files!r}, hive_partitioning = false{options})"
    # Some files, or all of them, may be older than a column.
    later = ", ".join(f"NULL::{SQL_TYPES[column.kind]} AS {column.name}" for column in table.later)
    rows = f"read_parquet({files!r}, hive_partitioning = false, union_by_name = true{options})"
    return f"(SELECT * FROM {rows} UNION ALL BY NAME SELECT {later} WHERE false)"


def commit_parts(
    root: Root, table: Table, written: list[tuple[str, Path]], replaced: Collection[str] = ()
) -> None:
    """Commit files of `write_parts` to the table.

    If a process is killed before, `compact` drops its files.

    `written`: partition value and file, as `write_parts` returns them.
    """
    from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

    column = table.partition
    assert column is not None
    new, stored = (root, root) if isinstance(root, Path) else (root.staged, root.cache)
    base = (stored / table.name).resolve()  # as Delta's paths of stored files
    folder = (new / table.name).resolve()
    added = [
        AddAction(**_facts(folder, path.resolve(), {column: value})) for value, path in written
    ]
    now = int(time.time() * 1000)
    removed = [
        RemoveAction(str(path.relative_to(base)), True, now, None, {column: partition_value(path)})
        for path in (Path(file).resolve() for file in replaced)
    ]

    place, options = _place(root, table)

    def commit(delta: Any | None, **how: Any) -> None:
        if delta is None:
            schema, how = _schema(table), {"storage_options": options, **how}
            create_table_with_add_actions(place, schema, added, "error", [column], **how)
        else:
            _add_later_columns(delta, table)
            actions, schema = [*added, *removed], delta.schema()
            delta.create_write_transaction(actions, "append", schema, [column], **how)

    if isinstance(root, Path):
        _retry(lambda: commit(open_table(root, table)))
    else:
        root.publish(table, [path.resolve() for _, path in written], commit)


def partition_value(path: Path) -> str:
    """Return the partition value of a stored file."""
    return path.parent.name.partition("=")[2]


def row_count(path: Path) -> int:
    """Return the row count of a Parquet file."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


@contextmanager
def _single_threaded(con: Any) -> Iterator[int]:
    """Use one thread per query; yield the cores."""
    cores = con.execute("SELECT current_setting('threads')").fetchall()[0][0]
    con.execute("SET threads = 1")
    try:
        yield cores
    finally:
        con.execute(f"SET threads = {cores}")


def stored_columns(table: Table) -> dict[str, str]:
    """Return a table's stored columns as SQL. Times are zoned, which all engines read alike."""
    return {
        column.name: f"make_timestamptz(epoch_us({column.name})) AS {column.name}"
        if column.kind == "moment"
        else column.name
        for column in table.columns
        if column.name != table.partition
    }


def _schema(table: Table) -> Any:
    from deltalake.schema import Field, PrimitiveType, Schema

    columns = table.columns
    fields = [Field(column.name, PrimitiveType(DELTA_TYPES[column.kind])) for column in columns]
    if table.partition and table.partition not in table.names:
        fields.append(Field(table.partition, PrimitiveType("string")))
    return Schema(fields)


def _facts(base: Path, path: Path, values: dict[str, str | None]) -> dict[str, Any]:
    """Return what the log says of a new file."""
    status = path.stat()
    return {
        "path": str(path.relative_to(base)),
        "size": status.st_size,
        "partition_values": values,
        "modification_time": int(status.st_mtime * 1000),
        "data_change": True,
        "stats": json.dumps({"numRecords": row_count(path)}),
    }


def replace_partition(root: Root, table: Table, value: str, rows: Any) -> None:
    """Replace the rows of a partition in one commit.

    `rows`: a table, or what makes a stream of it for each attempt.
    """
    if (current := open_table(root, table)) is None:
        return append(root, table, rows)
    _add_later_columns(current, table)
    predicate = f"{table.partition} = '{value}'"
    return _write(root, table, rows, mode="overwrite", predicate=predicate)


def upsert(root: Root, table: Table, rows: Any) -> None:
    """Update or add rows in one commit."""
    if open_table(root, table) is None:
        return append(root, table, rows)

    def update_or_insert() -> None:
        merge = _merge(root, table, rows)
        merge.when_matched_update_all().when_not_matched_insert_all().execute()

    return _retry(update_or_insert)


def remove(root: Root, table: Table, keys: Any) -> None:
    """Delete the rows with these keys in one commit.

    Tens of thousands of keys as a predicate would crash delta-rs.
    """
    _retry(lambda: _merge(root, table, keys).when_matched_delete().execute())


def _add_later_columns(current: Any, table: Table) -> None:
    """Add the columns that a table of an older version of the desk lacks."""
    stored = {field.name for field in current.schema().fields}
    if lacking := [field for field in _schema(table).fields if field.name not in stored]:
        current.alter.add_columns(lacking)


def _merge(root: Root, table: Table, rows: Any) -> Any:
    current = open_table(root, table)
    assert current is not None
    _add_later_columns(current, table)
    on = " AND ".join(f"new.{key} = old.{key}" for key in table.key)
    return current.merge(rows, predicate=on, source_alias="new", target_alias="old")


def delete(root: Root, table: Table, predicate: str) -> None:
    """Delete rows by a predicate in Delta's SQL. Nothing happens if the table was never written."""
    delta = open_table(root, table)
    if delta is not None:
        _retry(lambda: open_table(root, table).delete(predicate))  # type: ignore[union-attr]


def clear(root: Root, table: Table, column: str, predicate: str) -> int:
    """Empty a column of the rows that fit a predicate in Delta's SQL; return their number."""

    def update() -> int:
        delta = open_table(root, table)
        if delta is None:
            return 0
        return delta.update(predicate=predicate, updates={column: "NULL"})["num_updated_rows"]

    return _retry(update)


def compact(root: Root, table: Table) -> None:
    """Compact small files and drop files unused for a day.

    Nothing happens if the table was never written.
    """
    delta = open_table(root, table)
    if delta is None:
        return
    parts = len(delta.partitions()) if table.partition else 1
    if len(delta.file_uris()) > 4 * max(parts, 1):
        _retry(lambda: open_table(root, table).optimize.compact())  # type: ignore[union-attr]
    current = open_table(root, table)
    assert current is not None
    # full: no version's log lists the files of a killed import.
    hours = int(keep("old_versions").total_seconds()) // 3600
    current.vacuum(
        retention_hours=hours, enforce_retention_duration=False, dry_run=False, full=True
    )
    if not isinstance(root, Path):
        root.prune()


def _retry(action: Callable[[], Any]) -> Any:
    """Retry a commit after another host committed first; return what the action does."""
    from deltalake.exceptions import CommitFailedError

    for attempt in range(ATTEMPTS - 1):
        try:
            return action()
        except CommitFailedError:
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)  # noqa: S311 - jitter, not a secret
    return action()


def writer_properties() -> Any:
    """Return how files of a table are compressed."""
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=1)


def to_frame(table: "ibis.Table") -> "pandas.DataFrame":
    """Execute an Ibis table of texts and numbers.

    Ibis's own ``execute`` takes twice as long for 100 columns.
    """
    frame: pandas.DataFrame = table.to_pyarrow().to_pandas()
    return frame


def to_arrow(frame: "pandas.DataFrame", table: Table) -> Any:
    """Convert a frame to a canonical Arrow table.

    Returns: all columns of the table, in order.
    """
    import pandas as pd
    import pyarrow as pa

    if unknown := set(frame.columns) - set(table.names):
        raise ValueError(f"{table.name} has no column {', '.join(sorted(unknown))}")
    types = {"text": pa.string(), "json": pa.string(), "number": pa.float64(), "flag": pa.bool_()}
    arrays = []
    for column in table.columns:
        if column.name in frame:
            values = frame[column.name]
        else:
            values = pd.Series([None] * len(frame), dtype=object)
        if column.kind == "json":
            values = values.map(_as_json)
        if column.kind == "moment":
            values = pd.to_datetime(values, utc=True)
        kind = types.get(column.kind, pa.timestamp("us", "UTC"))
        arrays.append(pa.Array.from_pandas(values, type=kind))
    return pa.table(arrays, names=list(table.names))


def to_reader(frames: "Iterable[pandas.DataFrame]", table: Table) -> Any:
    """Return a stream of canonical Arrow batches. A frame is made when it is read."""
    import pyarrow as pa

    schema = to_arrow(pa.table({}).to_pandas(), table).schema
    batches = (batch for frame in frames for batch in to_arrow(frame, table).to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches)


def _as_json(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)


T = TypeVar("T")


def data_state(lake: "Lake", *, all_tables: bool = False) -> tuple[Any, ...]:
    """Return the lake's path and the newest commits of what features read, or of all tables."""
    tables = TABLES.values() if all_tables else (TABLES["events"], TABLES["text_signals"])
    return str(lake.root), *(newest_commit(lake.root, table) for table in (*tables, LINKS))


class DataCache(Generic[T]):
    """The last few results of one computation. Results are shared: callers must not change them."""

    def __init__(
        self,
        limit: int,
        *,
        is_small: Callable[[T], bool] = lambda _: True,
        all_tables: bool = False,
    ) -> None:
        self._limit, self._is_small, self._all_tables = limit, is_small, all_tables
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, lake: "Lake", key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result for a key, computed if the data is another."""
        # Read first: if the data changes meanwhile, the result belongs to the older state.
        state = (data_state(lake, all_tables=self._all_tables), lake.zone, key)
        known = self._results.get(state)
        if known is not None:
            return known
        result = compute()
        if self._is_small(result):
            self._results[state] = result
            while len(self._results) > self._limit:
                self._results.popitem(last=False)
        return result
