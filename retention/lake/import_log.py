"""The log of imports: what each came to, and whether a file had come in before and said something else."""

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import select

from retention.campaigns import redemptions
from retention.lake import directory

if TYPE_CHECKING:
    from retention.db import Database
    from retention.lake import Lake
    from retention.lake.import_report import ImportReport
    from retention.settings import Settings


def keep(
    lake: "Lake", database: "Database", settings: "Settings", report: "ImportReport", source: str
) -> None:
    """Keep the report, and make the directory follow."""
    from retention.db.tables import ImportLog

    with database.transaction() as session:
        session.add(
            ImportLog(
                id=uuid.uuid4().hex, team_id=settings.team_id, table_name=report.table, source=source,
                report=report.as_dict(),
            )
        )  # fmt: skip
        if report.table in ("events", "customers") and report.rows_accepted:
            directory.sync(lake, session, settings)
        if report.table == "events" and report.rows_accepted:
            redemptions.from_events(lake, session, settings)


def came_before(database: "Database", settings: "Settings", report: "ImportReport") -> str:
    """The day on which a file of the same name and length gave events, where it gives new ones now; else nothing.

    An event is known by what it says. By another map, or another time zone, the same file says other events, and those
    of the first time are still there.
    """
    from retention.db.tables import ImportLog

    if report.table != "events" or not report.rows_accepted:
        return ""
    files = {(file["file"], file["rows"]) for file in report.files}
    with database.reading() as session:
        imports = session.scalars(
            select(ImportLog)
            .where(ImportLog.team_id == settings.team_id, ImportLog.table_name == report.table)
            .order_by(ImportLog.at.desc())
        )
        for one in imports:
            had = {(file["file"], file["rows"]) for file in one.report["files"]}
            if one.report["rows_accepted"] and had & files:
                return f"{one.at:%Y-%m-%d}"
    return ""
