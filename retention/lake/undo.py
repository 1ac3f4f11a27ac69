"""Taking back the newest import of events: it was read by a wrong map, or was the wrong file.

Every import is one version of the table, so the version before it is put on top again. What has been written to the events
since, an erasure or the nightly joining of small files, would go with it: then the import stays.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db import Database
from retention.db.tables import Audit, ImportLog
from retention.errors import BadInput
from retention.lake import directory, store
from retention.lake.lake import Lake
from retention.lake.schema import TABLES
from retention.settings import Settings

EVENTS = TABLES["events"]
ACTION = "data.undo"
RELEASED = "quarantine/"  # how the source of a release begins


def take_back(lake: Lake, database: Database, settings: Settings, by: str) -> dict[str, Any]:
    """Take the newest import of events back, with the rows that it kept aside.

    Returns
    -------
    dict
        ``source``, ``at``, ``rows_accepted`` and ``rows_quarantined`` of the import.

    Raises
    ------
    BadInput
        Where there is none, it was a release from the quarantine, or the events have been written to since.
    """
    with store.locked(lake.root, EVENTS), database.transaction() as session:
        log = _newest(session, settings)
        version = log.report["version"]
        if version != _stands_for(session, settings, store.version(lake.root, EVENTS)):
            raise BadInput(
                f"The import of {log.source} cannot be taken back: the events have been written to since, by an erasure "
                "or by the nightly joining of small files."
            )
        put_back = store.restore(lake.root, EVENTS, version - 1)
        if log.report["quarantine_path"]:
            Path(log.report["quarantine_path"]).unlink(missing_ok=True)
        told = {
            "source": log.source, "at": log.at.isoformat(),
            **{name: log.report[name] for name in ("rows_accepted", "rows_quarantined")},
        }  # fmt: skip
        session.add(
            Audit(
                team_id=settings.team_id, actor=by, action=ACTION, subject=log.id,
                details={**told, "version": put_back, "as": version - 1},
            )
        )  # fmt: skip
        session.delete(log)
        directory.sync(lake, session, settings)
    return told


def _newest(session: Session, settings: Settings) -> ImportLog:
    mine = (ImportLog.team_id == settings.team_id, ImportLog.table_name == EVENTS.name)
    logs = [
        one for one in session.scalars(select(ImportLog).where(*mine)) if one.report.get("version", -1) >= 0
    ]
    if not logs:
        raise BadInput("There is no import of events to take back.")
    newest = max(logs, key=lambda one: one.report["version"])
    if newest.source.startswith(RELEASED):
        raise BadInput(
            f"The newest events are a release of {newest.source}: those rows are in no file any more, and stay."
        )
    return newest


def _stands_for(session: Session, settings: Settings, version: int) -> int:
    """The version whose rows the table has: after something was taken back, an earlier one than its number says."""
    last = session.scalars(
        select(Audit)
        .where(Audit.team_id == settings.team_id, Audit.action == ACTION)
        .order_by(Audit.id.desc())
        .limit(1)
    ).first()
    return last.details["as"] if last and last.details["version"] == version else version
