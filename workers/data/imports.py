"""Import files or a query into any table: of the lake, or of the database."""

from pathlib import Path
from typing import TYPE_CHECKING

from retention import clock
from retention.campaigns.measurement.redemption_and_bounce_files import (
    LISTENER,
    bounce_rows,
    import_rows,
    redemption_rows,
)
from retention.db import Database
from retention.lake.importing.import_files import import_files
from retention.lake.reading.sources import accept_any
from retention.progress import Progress, silent
from workers.campaigns import messages
from workers.job_requests import ImportFiles

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.lake.importing.import_log import ImportReport
    from retention.lake.reading.sources import SourceCheck

TABLES = ("events", "customers", "items", "treatments", "relations", "redemptions", "bounces")


def import_table(
    lake: "Lake",
    database: Database,
    request: ImportFiles,
    *,
    progress: Progress = silent,
    check: "SourceCheck | None" = None,
) -> "ImportReport":
    """Import files or a query; importing the same rows again changes nothing.

    `request`: its ``files`` are paths, or one SQLAlchemy URL together with ``query``. Redemptions
    and bounces go to the database.
    """

    files, query = list(request.files), request.query
    map_path = Path(request.map_path) if request.map_path else None
    if request.table in ("redemptions", "bounces"):
        is_bounces = request.table == "bounces"
        handler = bounce_rows(messages.refresh_counts) if is_bounces else redemption_rows()
        return import_rows(lake, database, handler, files, map_path, query=query, progress=progress)
    return import_files(
        lake,
        database,
        database.settings,
        request.table,
        files,
        map_path,
        source=request.source,
        query=query,
        format_name=request.format_name,
        progress=progress,
        listener=LISTENER,
        check=check or accept_any,
    )


def store_definition(lake: "Lake", database: Database) -> None:
    """Store the churn definition that follows from the data, once there are events."""
    from retention.registry import ensure_definition

    if lake.newest_event(before=clock.now()) is not None:
        ensure_definition(lake, database)
