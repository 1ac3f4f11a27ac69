"""Propose how a dropped file is imported."""

import shutil
from typing import Any

from retention.connect.sources.dropped_files import DROPPABLE, propose_file
from retention.errors import Refused
from retention.lake import Lake
from workers.data import slack_files
from workers.delivery import slack
from workers.requests import FilePropose
from workers.tasks.interface import Context, Outcome, Post


def run(request: FilePropose, context: Context) -> Outcome:
    """Read the file and show its first mapped rows, in the person's direct message only.

    Returns: the map without the rows, and a message with the rows.
    """
    settings = context.settings
    web = slack.client(context.database)
    shown: dict[str, Any] = {
        "file_id": request.file_id,
        "name": request.name,
        "tables": [*DROPPABLE],
        "proposal": context.job_id,
    }
    key = proposal_key(request.file_id)
    path = slack_files.fetch(web, settings, request.file_id, request.name)
    try:
        proposal = propose_file(Lake.open(settings), settings, path, request.table)
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
