"""Pull what is new from a source, and import it; stop if its columns are not those of before.

A pull yields one `Batch` per import. The caller stores a batch's watermark after its import. If the
process dies in between, the next pull imports the same rows again, which changes nothing.
"""

import difflib
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retention.connect import connections, registry
from retention.connect.contract import ConnectedShop, ConnectorError, FirstCancelled, Page
from retention.connect.sources import places, query_source
from retention.connect.sources.source_records import COUNTS, SourceProblem, place_of, problem_of
from retention.db.tables import Connection, Source
from retention.errors import Refused
from retention.lake.importing.mapping import quoted
from retention.lake.importing.single_currency import MixedCurrencies
from retention.lake.lake import naive
from retention.lake.reading import NoRows
from retention.paths import create_private_folder
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.lake.importing.import_log import ImportReport
    from retention.lake.importing.mapping import Mapping as ColumnMap
    from retention.lake.reading.sources import Source as OpenSource
    from retention.lake.reading.sources import SourceCheck

LATE = timedelta(days=1)  # an event this much older than the newest known one is late
SIMILAR = 0.5  # of a renamed column's old and new name
MIN_ROWS = 10  # a source with fewer rows is never said to have shrunk


@dataclass(frozen=True, slots=True)
class Batch:
    """What one import brought.

    `columns`: columns of the source with their kinds (`_kinds`).
    `late`: accepted events that are more than `LATE` older than the newest event known before.
    """

    watermark: dict[str, Any]
    columns: dict[str, Any]
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    late: int = 0

    def plus(self, other: "Batch") -> "Batch":
        """Return the later batch with the counts of both."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNTS}
        return replace(other, **sums)

    def counts(self) -> dict[str, int]:
        """Return the counts as columns of `SourceRun`."""
        return {f"rows_{name}": getattr(self, name) for name in COUNTS}


@dataclass(frozen=True)
class Pull:
    """One pull of a source.

    `first_cancelled`: keeps when orders of a shop were first seen as cancelled.
    """

    settings: Settings
    lake: "Lake"
    source: Source
    connection: Connection | None
    importer: Callable[..., "ImportReport"]  # with a table, files, a map, and what it is read with
    import_page: "Callable[[Page], ImportReport | None]"
    accepts_shrunk: bool
    first_cancelled: FirstCancelled | None = None
    _columns: dict[str, Any] = field(default_factory=dict, init=False)
    _rows: dict[str, int] = field(default_factory=dict, init=False)  # of each read file

    def batches(self) -> Generator[Batch, None, None]:
        """Import what is new.

        A caller may close it after any batch; the next pull continues there.
        """
        kind = self.source.kind
        try:
            if kind == "shop":
                yield from self._pages()
            elif kind == "query":
                yield from self._query()
            else:
                yield from self._files()
        except ConnectorError as error:
            raise problem_of(error) from error
        except MixedCurrencies as error:
            facts = {"new": sorted(error.new), "known": sorted(error.known)}
            raise SourceProblem("currency_changed", **facts) from error
        except Refused as error:  # also secrets that cannot be decrypted
            raise SourceProblem("unreadable", text=str(error)) from error

    # ------------------------------------------------------------ files

    def _files(self) -> Iterator[Batch]:
        folder = self._folder() / "downloads"
        shutil.rmtree(folder, ignore_errors=True)  # of a killed pull
        known: dict[str, Any] = self.source.watermark.get("files", {})
        options = places.driver_options(self.source.config, self._secrets())
        listed = places.files(self.settings, self.source.kind, self.source.location, options)
        changed = [file for file in listed if known.get(file.path, {}).get("stamp") != file.stamp]
        if not changed:
            return
        try:
            before = {file.path: known.get(file.path, {}).get("rows", 0) for file in changed}
            local: dict[str, places.RemoteFile] = {}
            for file in changed:
                if file.is_empty:
                    self._check_size(file.path, 0, before[file.path])
                    self._rows[file.path] = 0
                else:
                    local[str(file.fetch(folder))] = file
            batch = self._import_files(local, before)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        stamps = {file.path: file.stamp for file in changed}
        read = {path: {"stamp": stamps[path], "rows": self._rows.get(path, 0)} for path in stamps}
        there = {file.path for file in listed}
        kept = {path: facts for path, facts in known.items() if path in there}
        yield replace(batch, watermark={"files": kept | read})

    def _import_files(
        self, local: dict[str, places.RemoteFile], before: Mapping[str, int]
    ) -> Batch:
        """Import local files in one commit; files with a header but no rows are left out."""
        current = ""

        def check(file: str, source: "OpenSource", mapped: "ColumnMap", rows: int | None) -> None:
            nonlocal current
            current = file
            self._check_columns(source, mapped, rows)
            if rows is not None:
                path = local[file].path
                self._rows[path] = rows
                self._check_size(path, rows, before[path])

        files = dict(local)
        while files:
            try:
                return self._imported([*files], None, check)
            except NoRows:
                if current not in files:
                    raise
                path = files.pop(current).path
                self._check_size(path, 0, before[path])
                self._rows[path] = 0
        return Batch({}, {})

    def _check_columns(self, source: "OpenSource", mapped: "ColumnMap", rows: int | None) -> None:
        known = self.source.columns
        if rows is None:
            problem = _missing_columns(source, mapped, known)
        else:
            now = _kinds(self.lake.duckdb, source, mapped)
            problem = _changed_kinds(source, now, known)
            self._columns.update(now)
        if problem:
            raise problem

    def _check_size(self, name: str, rows: int, before: int) -> None:
        if before >= MIN_ROWS and 2 * rows < before and not self.accepts_shrunk:
            raise SourceProblem("shrunk", file=Path(name).name, rows=rows, rows_before=before)

    # ------------------------------------------------------------ a query

    def _query(self) -> Iterator[Batch]:
        source, url = self.source, self._secrets().get("url") or self.source.location
        query, column, known = source.query or "", source.watermark_column, source.watermark
        state = query_source.read_state(url, query, column, known.get("query", {}))
        self._check_size(source.name, state.rows, known.get("rows", 0))
        watermark = {"query": state.watermark or known.get("query", {}), "rows": state.rows}
        if not state.new_rows:
            yield Batch(watermark, {})
            return
        since = query_source.since_watermark(url, query, column, known.get("query", {}))

        def check(file: str, opened: "OpenSource", mapped: "ColumnMap", rows: int | None) -> None:
            self._check_columns(opened, mapped, rows)

        yield replace(self._imported([url], since, check), watermark=watermark)

    # ------------------------------------------------------------ a shop

    def _pages(self) -> Iterator[Batch]:
        if self.connection is None:
            raise SourceProblem("unreadable", text="the connection is gone")
        access = connections.access(self.settings, self.connection)
        connector: Any = registry.connector(self.connection.kind, access, self.first_cancelled)
        watermark = dict(self.source.watermark)
        try:
            if not isinstance(connector, ConnectedShop):
                text = f"{self.connection.kind} has no data to pull"
                raise SourceProblem("unreadable", text=text)
            for page in connector.pull(dict(watermark)):
                watermark |= page.watermark
                batch = self._counted(page.table, partial(self.import_page, page))
                yield replace(batch, watermark=dict(watermark))
        finally:
            connector.close()

    # ------------------------------------------------------------ shared

    def _imported(self, files: list[str], query: str | None, check: "SourceCheck") -> Batch:
        table = self.source.table_name or "events"

        options = {"query": query, "format_name": self.source.format_name, "check": check}
        imported = partial(self.importer, table, files, self._map_path(), **options)
        return self._counted(table, imported)

    def _counted(self, table: str, imported: "Callable[[], ImportReport | None]") -> Batch:
        """Import, and count the rows and the late events."""
        newest = self.lake.newest_event() if table == "events" else None
        late = _events_before(self.lake, newest - LATE) if newest else 0
        report = imported()
        if report is None:
            return Batch({}, {})
        now_late = _events_before(self.lake, newest - LATE) if newest else 0
        counts = {name: getattr(report, f"rows_{name}") for name in COUNTS if name != "late"}
        return Batch({}, dict(self._columns), **counts, late=max(now_late - late, 0))

    def _map_path(self) -> Path | None:
        """Write the map to its file, which the release of quarantined rows reads again."""
        if self.source.map_text is None:
            return None
        path = create_private_folder(self._folder()) / "map.toml"
        if not path.is_file() or path.read_text(encoding="utf-8") != self.source.map_text:
            path.write_text(self.source.map_text, encoding="utf-8")
        return path

    def _folder(self) -> Path:
        return self.settings.home / "sources" / self.source.name

    def _secrets(self) -> dict[str, str]:
        keys = self.settings.keys
        return connections.decrypt(keys, self.source.secrets, place_of(self.source))


def _events_before(lake: "Lake", cutoff: datetime) -> int:
    view = lake.table("events").get_name()
    query = f'SELECT count(*) FROM "{view}" WHERE occurred_at < ?'  # noqa: S608 - our own view
    return int(lake.duckdb.execute(query, [naive(cutoff)]).fetchall()[0][0])


# ---------------------------------------------------------------- drift of columns


def _missing_columns(
    source: "OpenSource", mapped: "ColumnMap", known: Mapping[str, Any]
) -> SourceProblem | None:
    """Return the problem of a source that lacks columns of its map.

    `known`: columns of the last good pull, from `_kinds`.
    """
    there = {name.casefold() for name in source.columns}
    optional = {name.casefold() for name in mapped.optional}
    named = {name for expression in mapped.values.values() for name in expression.columns}
    named |= mapped.where.columns if mapped.where else set()
    named |= {name for name, _ in mapped.leave_out}
    gone = sorted(name for name in named if name.casefold() not in there | optional)
    if not gone:
        return None
    old = {name.casefold() for name in known}
    new = [name for name in source.columns if known and name.casefold() not in old]
    return SourceProblem(
        "schema_changed", file=source.name, gone=gone, new=new, renamed=_renamed(gone, new)
    )


def _renamed(gone: list[str], new: list[str]) -> dict[str, str]:
    """Pair each lost column with the new one that is most like it."""
    if len(gone) == len(new) == 1:
        return {gone[0]: new[0]}
    lower = {name.casefold(): name for name in new}
    pairs: dict[str, str] = {}
    for name in gone:
        nearest = difflib.get_close_matches(name.casefold(), lower, 1, SIMILAR)
        if nearest:
            pairs[name] = lower.pop(nearest[0])
    return pairs


def _changed_kinds(
    source: "OpenSource", now: Mapping[str, Any], known: Mapping[str, Any]
) -> SourceProblem | None:
    """Return the problem of a source whose numbers or times became something else.

    A column without a value says nothing.

    `now`, `known`: columns of this pull and of the last good one, from `_kinds`.
    """
    changed = [
        {"column": name, "was": known[name], "now": kind}
        for name, kind in now.items()
        if known.get(name) in ("number", "time") and kind not in ("", known[name])
    ]
    return SourceProblem("schema_changed", file=source.name, changed=changed) if changed else None


def _kinds(con: Any, source: "OpenSource", mapped: "ColumnMap") -> dict[str, str]:
    """Return a source's columns with the kind of their values: number, time or text.

    A column without values, and one that the map reads neither as a number nor as a time, has no
    kind.
    """
    expected = {
        name: kind
        for kind, targets in (("number", "number"), ("time", "moment"))
        for column in mapped.source_columns_of(targets)
        for name in source.columns
        if name.casefold() == column.casefold()
    }
    if not expected:
        return dict.fromkeys(source.columns, "")
    listed = ", ".join(
        f"count(*) FILTER (trim({quoted(name)}::VARCHAR) <> ''), "
        f"count({_converted(source, name, kind)})"
        for name, kind in expected.items()
    )
    query = f"SELECT {listed} FROM {source.relation}"  # noqa: S608 - names are quoted
    counts = con.execute(query).fetchall()[0]
    observed = {
        name: "" if not filled else kind if 2 * usable >= filled else "text"
        for (name, kind), filled, usable in zip(
            expected.items(), counts[::2], counts[1::2], strict=True
        )
    }
    return {name: observed.get(name, "") for name in source.columns}


def _converted(source: "OpenSource", name: str, kind: str) -> str:
    reading = source.readings.get(name)
    if reading:
        return reading.sql
    return f"try_cast({quoted(name)}::VARCHAR AS {'DOUBLE' if kind == 'number' else 'TIMESTAMPTZ'})"
