"""Import files or a query into any table: of the lake, or of the database."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from retention import clock
from retention.db import Database
from retention.db.tables import Campaign
from retention.progress import Progress, silent
from retention.settings import Settings
from workers import campaign_messages

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.lake.import_log import ImportReport
    from retention.lake.reading.sources import SourceCheck

TABLES = ("events", "customers", "items", "treatments", "relations", "redemptions", "bounces")


def import_table(
    lake: "Lake",
    database: Database,
    settings: Settings,
    table: str,
    files: list[str],
    map_path: Path | None = None,
    *,
    source: str | None = None,
    query: str | None = None,
    format_name: str | None = None,
    progress: Progress = silent,
    check: "SourceCheck | None" = None,
) -> "ImportReport":
    """Import files or a query; importing the same rows again changes nothing.

    Parameters
    ----------
    lake, database, settings
        Of the installation.
    table : str
        One of `TABLES`. Redemptions and bounces go to the database.
    files : list of str
        Paths, or one SQLAlchemy URL together with ``query``.
    map_path : Path, optional
        The map.
    source : str, optional
        Value of ``events.source``.
    query : str, optional
        SELECT statement.
    format_name : str, optional
        Known export.
    progress : Progress
        Called with done, total and a label.
    check : SourceCheck, optional
        Can refuse a file of a table of the lake.

    Raises
    ------
    BadInput
        Nothing was imported.
    """
    from retention.campaigns.file_imports import LISTENER, import_bounces, import_redemptions
    from retention.lake.importing import import_files
    from retention.lake.reading.sources import accept_any

    def recount(session: Session, campaign: Campaign) -> None:
        campaign_messages.refresh_counts(session, settings, campaign)

    target = (lake, database, settings)
    if table == "redemptions":
        return import_redemptions(*target, files, map_path, query=query, progress=progress)
    if table == "bounces":
        return import_bounces(
            *target, files, map_path, recount=recount, query=query, progress=progress
        )
    return import_files(
        *target,
        table,
        files,
        map_path,
        source=source,
        query=query,
        format_name=format_name,
        progress=progress,
        listener=LISTENER,
        check=check or accept_any,
    )


def store_definition(lake: "Lake", database: Database, settings: Settings) -> None:
    """Store the churn definition that follows from the data, once there are events.

    Parameters
    ----------
    lake, database, settings
        Of the installation.
    """
    from retention.registry import ensure_definition

    if lake.newest_event(before=clock.now()) is not None:
        ensure_definition(lake, database, settings)
