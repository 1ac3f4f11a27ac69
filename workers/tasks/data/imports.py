"""Import files at the time of a schedule, files dropped into Slack, and the demo's days."""

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import select

from retention.audiences import store as audiences
from retention.connect.sources.dropped_files import DROPPABLE, propose_file
from retention.db.tables import Job
from retention.demo.journey import feed, prepare
from retention.errors import BadInput, Refused
from retention.lake import Lake
from retention.paths import create_private_folder
from retention.registry.churn_definition import means_in_force
from retention.text import gettext
from workers.data import slack_files
from workers.data.imports import import_list, import_table, store_definition
from workers.delivery import slack_client
from workers.job_requests import DemoFeed, FileImport, FilePropose, ImportFiles
from workers.tasks.interface import Context, Outcome, Post


def run_file_import(request: FileImport, context: Context) -> Outcome:
    settings, database = context.settings, context.database
    with database.reading() as session:
        stored: dict[str, Any] | None = session.scalar(
            select(Job.result).where(Job.id == request.proposal, Job.kind == "file_propose")
        )
    if not stored or "map_text" not in stored:
        raise BadInput(gettext("This file was not read; drop it again, please."))
    lake = Lake.open(settings)
    web = slack_client.client(database)
    path = slack_files.fetch(web, settings, stored["file_id"], stored["name"])
    audience = None
    try:
        if stored["table"] == "lists":
            name = audiences.name_of(Path(stored["name"]).stem) or "list"
            report, saved = import_list(lake, database, name, path, context.requested_by)
            audience = audiences.summary(saved)
        else:
            dropped = _dropped(context, stored, path)
            by = context.requested_by
            report = import_table(lake, database, dropped, by, progress=context.progress)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
    if stored["table"] == "events":
        store_definition(lake, database, report.means)
    data = {"name": stored["name"], "report": report.as_dict(), "audience": audience}
    return Outcome(data, (Post("source/file_imported", data),))


def _dropped(context: Context, stored: dict[str, Any], path: Path) -> ImportFiles:
    """Return the import of a proposed file, with its map in a file of its own."""
    map_path = None
    if stored["map_text"] is not None:
        # The release of quarantined rows reads the map again.
        folder = create_private_folder(context.settings.home / "sources" / "dropped")
        map_path = folder / f"{stored['file_id']}.toml"
        map_path.write_text(stored["map_text"], encoding="utf-8")
    return ImportFiles(
        table=stored["table"],
        files=(str(path),),
        map_path=map_path and str(map_path),
        format_name=stored["format_name"],
    )


def run_file_propose(request: FilePropose, context: Context) -> Outcome:
    """Read the file and show its first mapped rows, in the person's direct message only.

    Returns: the map without the rows, and a message with the rows.
    """
    settings = context.settings
    web = slack_client.client(context.database)
    shown: dict[str, Any] = {
        "file_id": request.file_id,
        "name": request.name,
        "tables": [*DROPPABLE],
        "proposal": context.job_id,
    }
    key = proposal_key(request.file_id)
    path = slack_files.fetch(web, settings, request.file_id, request.name)
    try:
        means = means_in_force(context.database)
        proposal = propose_file(Lake.open(settings), settings, path, request.table, means)
    except Refused as refusal:
        # The person can choose another table.
        table = request.table or "events"
        data = {**shown, "table": table, "refusal": str(refusal)}
        return Outcome(data, (Post("source/file", data, key=key, channel=context.requested_by),))
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
    names = ("table", "map_text", "format_name", "rows", "usable")
    data = shown | {name: getattr(proposal, name) for name in names}
    data |= {"refusal": None, "warnings": [*proposal.warnings]}
    rows = {"columns": proposal.columns, "sample": proposal.sample}
    post = Post("source/file", data | rows, key=key, channel=context.requested_by)
    return Outcome(data, (post,))


def proposal_key(file_id: str) -> str:
    """Return the outbox key of the message about a dropped file."""
    return f"file:{file_id}"


def run_import_files(request: ImportFiles, context: Context) -> Outcome:
    """Import the files as they are now."""
    lake = Lake.open(context.settings)
    report = import_table(
        lake, context.database, request, context.requested_by, progress=context.progress
    )
    data = report.as_dict()
    return Outcome(data, (Post("schedule/imported", {"report": data}),))


def run_demo_feed(request: DemoFeed, context: Context) -> Outcome:
    """Import events and simulated responses before ``until``, and post nothing."""
    if request.until is None:
        return Outcome(prepare(context.database, context.progress))
    lake = Lake.open(context.settings)
    return Outcome(feed(context.database, lake, request.until, context.progress))
