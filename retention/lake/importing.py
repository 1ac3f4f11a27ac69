"""Import: read, map, check, leave out what is there already, commit once. The same file twice changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

from retention.db import Database
from retention.errors import BadInput
from retention.lake import formats, identity, import_log, mapping
from retention.lake.import_job import Import, named, shown
from retention.lake.import_report import ImportReport
from retention.lake.lake import Lake
from retention.lake.reading import sources
from retention.lake.schema import TABLES, Table
from retention.privacy import erased
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext


def import_files(
    lake: Lake,
    database: Database | None,
    settings: Settings,
    table: str,
    files: list[str],
    map_path: Path | None = None,
    *,
    source: str | None = None,
    query: str | None = None,
    only: str | None = None,
    format_name: str | None = None,
    progress: Progress = silent,
    listener: import_log.ImportListener = import_log.NO_LISTENER,
) -> ImportReport:
    """Import files (or one database query) into a canonical table, in one commit.

    Parameters
    ----------
    lake, database, settings
        Where to; without a database, neither the import log nor the directory is kept.
    table : str
        ``events``, ``customers``, ``items`` or ``treatments``.
    files : list of str
        Paths, or one SQLAlchemy URL together with ``query``.
    map_path : Path, optional
        The map file; without one the source has canonical column names already.
    source : str, optional
        What ``events.source`` says, whatever the map does.
    only : str, optional
        SQL condition on the source's own columns; other rows are as if they were not in the file.
    format_name : str, optional
        A known export, like ``shopify-orders``, whose map comes with us; times are of the installation's time zone.
    listener : ImportListener, optional
        Called after events were imported. An installation with campaigns passes `retention.campaigns.imports.LISTENER`.

    Raises
    ------
    BadInput
        In one sentence, with nothing changed: an unknown table, an unreadable or empty file, a map that names a
        missing column, a file of which no row can be used.
    """
    started = perf_counter()
    if table not in TABLES or not TABLES[table].importable:
        known = ", ".join(name for name, each in TABLES.items() if each.importable)
        raise BadInput(
            gettext("There is no table {table!r} to import into; use one of {known}.").format(
                table=table, known=known
            )
        )
    if not files:
        raise BadInput(gettext("Name at least one file to import."))
    files, rules = sources.found(files), identity.load(settings)
    mapped = _mapping(TABLES[table], settings, map_path, format_name)
    own_map = str(map_path.absolute()) if map_path else None
    map_name = f"format:{format_name}" if format_name else own_map
    gone = partial(erased.known, database, settings)
    work = Import(lake, settings, TABLES[table], mapped, source, query, only, map_name, gone)
    try:
        for number, file in enumerate(files):
            progress(number, len(files) + 1, f"reading {named(file)}")
            work.read(file, _telling(progress, number, len(files) + 1, file))
        progress(len(files), len(files) + 1, f"writing {table}")
        report = work.commit(files, lambda: perf_counter() - started)
    finally:
        work.close()
    report = import_log.linked(lake, rules, report, work.learned)
    if database is not None:
        report = replace(report, before=import_log.came_before(database, settings, report))
        report = import_log.keep(lake, database, settings, report, shown(files), listener)
    progress(len(files) + 1, len(files) + 1, "done")
    return report


def _mapping(
    table: Table, settings: Settings, map_path: Path | None, format_name: str | None
) -> mapping.Mapping | None:
    if format_name is None:
        return mapping.read_map(map_path, table) if map_path else None
    if map_path is not None:
        raise BadInput(
            gettext(
                "--format {format_name} brings its own map; leave out --map, or copy and change it."
            ).format(format_name=format_name)
        )
    return formats.read(format_name, table, settings.timezone)


def _telling(progress: Progress, done: int, total: int, file: str) -> Callable[[int], None]:
    return lambda rows: progress(done, total, f"reading {named(file)}: {rows:,} rows")
