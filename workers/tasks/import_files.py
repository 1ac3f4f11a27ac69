"""Import files at the time of a schedule."""

from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from retention.db.tables import Campaign
from workers import campaign_messages
from workers.requests import ImportFiles
from workers.tasks.interface import Context, Outcome, Post


def run(request: ImportFiles, context: Context) -> Outcome:
    """Import the files as they are now.

    Parameters
    ----------
    request : ImportFiles
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts of rows.
    """
    from retention.campaigns.file_imports import LISTENER, import_bounces, import_redemptions
    from retention.lake import Lake
    from retention.lake.importing import import_files

    settings, database = context.settings, context.database
    lake, files = Lake.open(settings), list(request.files)
    map_path = Path(request.map_path) if request.map_path else None

    def recount(session: Session, campaign: Campaign) -> None:
        campaign_messages.refresh_counts(session, settings, campaign)

    report: Any
    arguments = (lake, database, settings)
    if request.table == "redemptions":
        report = import_redemptions(
            *arguments, files, map_path, query=request.query, progress=context.progress
        )
    elif request.table == "bounces":
        report = import_bounces(
            *arguments,
            files,
            map_path,
            recount=recount,
            query=request.query,
            progress=context.progress,
        )
    else:
        report = import_files(
            *arguments,
            request.table,
            files,
            map_path,
            source=request.source,
            query=request.query,
            format_name=request.format_name,
            progress=context.progress,
            listener=LISTENER,
        )
    data = report.as_dict()
    return Outcome(data, (Post("schedule/imported", {"report": data}),))
