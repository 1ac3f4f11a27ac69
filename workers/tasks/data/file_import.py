"""Import a dropped file after a click."""

import shutil
from typing import Any

from sqlalchemy import select

from retention.db.tables import Job
from retention.errors import BadInput
from retention.lake import Lake
from retention.paths import create_private_folder
from retention.text import gettext
from workers.data import slack_files
from workers.data.imports import import_table, store_definition
from workers.delivery import slack
from workers.requests import FileImport, ImportFiles
from workers.tasks.interface import Context, Outcome, Post


def run(request: FileImport, context: Context) -> Outcome:
    """Import the file as it was proposed."""
    settings, database = context.settings, context.database
    with database.reading() as session:
        stored: dict[str, Any] | None = session.scalar(
            select(Job.result).where(Job.id == request.proposal, Job.kind == "file_propose")
        )
    if not stored or "map_text" not in stored:
        raise BadInput(gettext("This file was not read; drop it again, please."))
    lake = Lake.open(settings)
    web = slack.client(database)
    path = slack_files.fetch(web, settings, stored["file_id"], stored["name"])
    try:
        map_path = None
        if stored["map_text"] is not None:
            # The release of quarantined rows reads the map again.
            folder = create_private_folder(settings.home / "sources" / "dropped")
            map_path = folder / f"{stored['file_id']}.toml"
            map_path.write_text(stored["map_text"], encoding="utf-8")
        dropped = ImportFiles(
            table=stored["table"],
            files=(str(path),),
            map_path=map_path and str(map_path),
            format_name=stored["format_name"],
        )
        report = import_table(lake, database, dropped, progress=context.progress)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
    if stored["table"] == "events":
        store_definition(lake, database)
    data = {"name": stored["name"], "report": report.as_dict()}
    return Outcome(data, (Post("source/file_imported", data),))
