"""Handle the table's menu and the buttons of a dropped file."""

from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot.dropped_files import decide, refusal
from bot.interactions import Click
from bot.services import Services
from retention.db.tables import Job
from workers import ids, jobs, roles
from workers.requests import FileImport, FilePropose


def register(app: App, services: Services) -> None:
    """Listen to the menu and the buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.FILE_TABLE)
    def choose(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        table, _, proposal = click.value.partition("|")
        choose_table(services, click, table, proposal)

    @app.action(ids.FILE_IMPORT)
    def start(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        import_file(services, click, click.value)

    @app.action(ids.FILE_CANCEL)
    def cancel(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            result = _proposal(session, services, click, click.value)
            if click.first_time(session):
                decide(services, session, result, click.user, "cancel")


def choose_table(services: Services, click: Click, table: str, proposal: str) -> None:
    """Propose the import of a file into another table.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click.
    table : str
        Name of the table.
    proposal : str
        Job id of the earlier proposal.
    """
    with services.database.transaction() as session:
        result = _proposal(session, services, click, proposal)
        request = FilePropose(file_id=result["file_id"], name=result["name"], table=table)
        submission = jobs.submit(
            session,
            services.settings,
            request,
            requested_by=click.user,
            channel=click.user,
            idem_key=click.key,
            announce=False,
        )
    if submission.created:
        services.queue.wake(submission.job)


def import_file(services: Services, click: Click, proposal: str) -> None:
    """Import a file as it was proposed; a second click changes nothing.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click.
    proposal : str
        Job id of the proposal.
    """
    with services.database.transaction() as session:
        result = _proposal(session, services, click, proposal)
        submission = jobs.submit(
            session,
            services.settings,
            FileImport(proposal=proposal),
            requested_by=click.user,
            channel=click.user,
            idem_key=f"file_import:{proposal}",
        )
        if submission.created:
            decide(services, session, result, click.user, "import")
    if submission.created:
        services.queue.wake(submission.job)


def _proposal(session: Session, services: Services, click: Click, job_id: str) -> dict[str, Any]:
    """Return a proposal of this person.

    Raises
    ------
    Refused
        There is none.
    """
    settings = services.settings
    roles.require(session, settings, click.user, FileImport.role, FileImport.deed)
    job = session.get(Job, job_id)
    is_own = job and job.kind == FilePropose.kind and job.requested_by == click.user
    if not job or not is_own or job.team_id != settings.team_id or not job.result:
        raise refusal()
    return job.result
