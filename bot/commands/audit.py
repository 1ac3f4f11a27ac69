"""Answer `/retention audit`, and check and export the audit log in the terminal."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bot.commands.campaign import CAMPAIGN_ID
from bot.commands.parameters import TO_WRITE
from bot.commands.tree import TERMINAL, Answer, Call, group
from retention.campaigns.lifecycle.states import find_campaign
from retention.db import audit_chain
from retention.db.audit import step_of
from retention.db.tables import Audit
from retention.errors import BadInput
from retention.paths import create_private_file
from retention.text import gettext

MAX_SHOWN = 90  # rows of a table in Slack
LEAST_OF_HEAD = 12  # characters that tell one head from another

COMMAND = group("audit", default="show", default_takes_words=True)


@COMMAND.command(
    "show",
    role="viewer",
    help=gettext("The life of a campaign: who did what, when and why, and whether it was changed."),
)
@CAMPAIGN_ID
def show(call: Call, campaign: str) -> Answer:
    """Show all entries of a campaign, and which of them are not as they were written."""
    with call.database.reading() as session:
        row = find_campaign(session, campaign)
        entries, problems = audit_chain.life(session, row.id)
        data = {
            "campaign": {"campaign_id": row.id, "name": row.name, "state": row.state},
            "number": len(entries),
            "steps": [_step(entry) for entry in entries[-MAX_SHOWN:]],
            "problems": [asdict(problem) for problem in problems],
        }
    return Answer("campaign/audit", data)


def _step(entry: Audit) -> dict[str, Any]:
    own = {"entry": entry.id, "version": entry.details.get("version")}
    return own | step_of(entry, "campaign")


@COMMAND.command(
    "verify",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Check that no entry of the audit log was changed, removed or moved. The exit status is "
        "1 if one was."
    ),
)
@click.option(
    "--head",
    metavar="HASH",
    help=gettext(
        "A head that was kept outside: in a backup, or in the admin channel. Without it, entries "
        "that were removed from the end do not show."
    ),
)
def verify(call: Call, head: str | None) -> Answer:
    """Check the audit log."""
    if head is not None and len(head) < LEAST_OF_HEAD:
        text = gettext("--head is {head!r}; give at least its first {number} characters.")
        raise BadInput(text.format(head=head, number=LEAST_OF_HEAD), field="head")
    with call.database.reading() as session:
        found = audit_chain.verify(session, head)
    return Answer("bot/audit_verified", asdict(found), failed=bool(found.problems))


@COMMAND.command(
    "export",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("Write the audit log for an auditor: JSON Lines, each entry with its link."),
)
@click.argument("file", type=TO_WRITE, metavar="FILE")
def export(call: Call, file: Path) -> Answer:
    """Export the audit log."""
    if file.exists():
        text = gettext("{target} is there already; name another file.")
        raise BadInput(text.format(target=file))
    number, head = 0, audit_chain.START
    with create_private_file(file) as stream, call.database.reading() as session:
        for link, entry in audit_chain.entries(session):
            head = link.hash  # that of this file: the log grows meanwhile
            if entry:
                line = audit_chain.entry_data(entry) | audit_chain.link_data(link)
                stream.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")
                number += 1
    return Answer("bot/audit_exported", {"file": str(file), "entries": number, "head": head})
