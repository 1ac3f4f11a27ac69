"""Import files or a query into any table: of the lake, or of the database."""

import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from retention import clock
from retention.audiences import lists, store
from retention.audiences.expression import InList
from retention.campaigns.measurement.redemption_and_bounce_files import (
    LISTENER,
    RowHandler,
    bounce_rows,
    import_rows,
    redemption_rows,
)
from retention.connect.sources.dropped_files import list_map
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.db.tables import Audience, ListMember
from retention.errors import BadInput, Conflict
from retention.lake.importing import mapping
from retention.lake.importing.import_files import import_files
from retention.lake.importing.quarantine_reasons import ReasonCode
from retention.lake.reading.archives import scratch_folder
from retention.lake.reading.sources import accept_any, expand_paths
from retention.lake.schema import LISTS
from retention.progress import Progress, silent
from retention.text import gettext
from retention.window import Means
from workers.campaigns import messages
from workers.data import voice_clips
from workers.job_requests import ImportFiles, ImportTable

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.lake.importing.import_log import ImportReport
    from retention.lake.reading.sources import SourceCheck

TABLES = get_args(ImportTable)


def import_table(
    lake: "Lake",
    database: Database,
    request: ImportFiles,
    by: str,
    *,
    progress: Progress = silent,
    check: "SourceCheck | None" = None,
) -> "ImportReport":
    """Import files or a query, and write it to the audit log.

    Importing the same rows again changes nothing.

    `request`: its ``files`` are paths, or one SQLAlchemy URL together with ``query``. Redemptions
    and bounces go to the database.
    """
    report = _import(lake, database, request, progress, check or accept_any)
    with database.transaction() as session:
        record_import(session, by, request.table, report)
    return report


def record_import(session: Transaction, by: str, table: str, report: "ImportReport") -> None:
    """Write an import to the audit log: its rows, and the hashes of its files."""
    if not report.rows_read:
        return  # an hourly pull without news
    details = {
        "read": report.rows_read,
        "accepted": report.rows_accepted,
        "quarantined": report.rows_quarantined,
        "files": [each["stamp"] for each in report.files if "stamp" in each],
    }
    record(session, by, "data.import", table, clock.now(), details)


def _import(
    lake: "Lake", database: Database, request: ImportFiles, progress: Progress, check: "SourceCheck"
) -> "ImportReport":
    if request.table == "texts" and any(map(voice_clips.SOUND.search, request.files)):
        return _import_calls(lake, database, request, progress)
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
        check=check,
    )


def _import_calls(
    lake: "Lake", database: Database, request: ImportFiles, progress: Progress
) -> "ImportReport":
    """Import recorded calls: what was said, as texts."""
    from retention.texts.calls import transcribe_calls  # it loads pandas

    others = [file for file in request.files if not voice_clips.SOUND.search(file)]
    paths = [Path(file) for file in expand_paths(list(request.files))]
    if others or request.map_path or request.query or request.format_name:
        text = gettext("Recorded calls are imported alone, without other files, a map or a query.")
        raise BadInput(text, field="files")
    rows = transcribe_calls(paths, ZoneInfo(database.settings.timezone), progress)
    with scratch_folder() as folder:
        file = folder / "recorded_calls.csv"
        rows.to_csv(file, index=False)
        return import_files(lake, database, database.settings, "texts", [str(file)])


def import_list(
    lake: "Lake", database: Database, name: str, file: Path, by: str, *, is_exclusion: bool = False
) -> tuple["ImportReport", Audience]:
    """Replace the customers of a list by those of a file, and save the audience of its name.

    Rows without a customer of the shop are quarantined. A list that is an exclusion stays one.
    """
    name = store.check_name(name)
    expression = InList(name)
    with database.reading() as session:
        other = store.replaced_by(session, name, expression, is_exclusion)
    if other and other["expression"] != str(expression):
        text = gettext(
            "The audience {name!r} exists, and is no list: `{old}`. Import the file under another "
            "name."
        )
        raise Conflict(text.format(name=name, old=other["expression"]))
    kept: set[str] = set()
    handler = RowHandler(
        LISTS,
        lambda session, rows: lists.add_members(session, name, rows, kept),
        select(func.count()).where(ListMember.name == name, ListMember.removed_at.is_(None)),
        ReasonCode.UNKNOWN_MEMBER,
        gettext("finding the customers"),
    )
    section = tomllib.loads(list_map(lake, file))[LISTS.name]
    mapped = mapping.parse_section(section, LISTS, file.name)
    report = import_rows(lake, database, handler, [str(file)], mapped)
    counted = store.Counted(len(lake.identities.resolved(kept)), clock.now())
    with database.transaction() as session:
        record_import(session, by, LISTS.name, report)
        lists.end_others(session, name, kept)
        # Once more: someone may have made it an exclusion while the file was read.
        other = store.replaced_by(session, name, expression, is_exclusion)
        is_exclusion = is_exclusion or bool(other and other["exclude"])
        save = partial(store.save, is_exclusion=is_exclusion, replaces=str(expression))
        return report, save(session, name, expression, counted=counted, by=by)


def store_definition(lake: "Lake", database: Database, means: Means | None = None) -> None:
    """Store the churn definition that follows from the data, once there are events.

    `means`: what the import's map says that a purchase is.
    """
    from retention.registry import ensure_definition

    if lake.newest_event(before=clock.now()) is not None:
        ensure_definition(lake, database, means)
