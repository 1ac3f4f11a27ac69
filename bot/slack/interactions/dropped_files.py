"""Handle the table's menu and the buttons of a dropped file."""

from typing import Any

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, listen
from retention.db import Transaction
from retention.db.tables import Job
from retention.errors import Refused
from retention.text import gettext
from workers import ids, roles
from workers.delivery import outbox
from workers.queue import jobs
from workers.requests import FileImport, FilePropose
from workers.tasks.interface import Post


def register(app: App, services: Services) -> None:
    """Listen to the menu and the buttons."""
    clicks = {ids.FILE_TABLE: _choose_table, ids.FILE_IMPORT: _import, ids.FILE_CANCEL: _cancel}
    listen(app, services, clicks)


def _choose_table(services: Services, click: Click) -> None:
    """Propose the import of a file into another table."""
    table, _, proposal = click.value.partition("|")
    with services.database.transaction() as session:
        file = _proposal(session, click, proposal)
        submission = jobs.submit(
            session,
            FilePropose(file_id=file["file_id"], name=file["name"], table=table),
            requested_by=click.user,
            channel=click.user,
            idem_key=click.key,
            announce=False,
        )
    if submission.created:
        services.queue.wake(submission.job)


def _import(services: Services, click: Click) -> None:
    """Import a file as it was proposed; a second click changes nothing."""
    with services.database.transaction() as session:
        file = _proposal(session, click, click.value)
        submission = jobs.submit(
            session,
            FileImport(proposal=click.value),
            requested_by=click.user,
            channel=click.user,
            idem_key=f"file_import:{click.value}",
        )
        if submission.created:
            _decide(session, file, click.user, "import")
    if submission.created:
        services.queue.wake(submission.job)


def _cancel(services: Services, click: Click) -> None:
    with services.database.transaction() as session:
        file = _proposal(session, click, click.value)
        if click.first_time(session):
            _decide(session, file, click.user, "cancel")


def _proposal(session: Transaction, click: Click, job_id: str) -> dict[str, Any]:
    """Return the proposal of a file that this person dropped."""
    roles.require(session, click.user, FileImport.role, FileImport.deed)
    job = session.get(Job, job_id)
    is_own = job and job.kind == FilePropose.kind and job.requested_by == click.user
    if not job or not is_own or job.team_id != session.settings.team_id or not job.result:
        raise Refused(gettext("This file is not waiting any more; drop it again, please."))
    return job.result


def _decide(session: Transaction, file: dict[str, Any], user: str, deed: str) -> None:
    """Show what a person decided about a file, in place of the buttons."""
    values = {"name": file["name"], "user": user, "deed": deed}
    post = Post("source/file_decided", values, key=f"file:{file['file_id']}", channel=user)
    outbox.put(session, post, default_channel=user)
