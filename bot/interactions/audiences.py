"""Handle the buttons of audiences."""

from datetime import datetime
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot.interactions import Click, confirm
from bot.services import Services
from retention.audiences import store
from retention.audiences.parse import parse
from retention.db.tables import Job
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, jobs, roles
from workers.delivery import outbox
from workers.requests import AudienceSave, CampaignDraft, Request, Sweep
from workers.tasks.interface import Post


def register(app: App, services: Services) -> None:
    """Listen to the buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.SAVE_AUDIENCE)
    def save(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            roles.require(
                session, services.settings, click.user, AudienceSave.role, AudienceSave.deed
            )
            if click.first_time(session):
                _save(session, services, click)

    @app.action(ids.AUDIENCE_SWEEP)
    def sweep(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        _submit(services, click, Sweep(audience=click.value))

    @app.action(ids.AUDIENCE_DRAFT)
    def draft(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        _submit(services, click, CampaignDraft(audience=click.value, tier="low"))


def _submit(services: Services, click: Click, request: Request) -> None:
    """Queue and confirm a request about an audience that still exists."""
    channel = click.channel or click.user
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        store.find(session, services.settings, click.value)
        submission = jobs.submit(
            session,
            services.settings,
            request,
            requested_by=click.user,
            channel=channel,
            idem_key=click.key,
        )
    confirm(services, click, submission, private=channel == click.user)


def _save(session: Session, services: Services, click: Click) -> None:
    """Save the audience of a preview and replace its buttons."""
    settings = services.settings
    job = session.get(Job, click.value)
    if job is None or job.team_id != settings.team_id or job.kind != AudienceSave.kind:
        raise BadInput(
            gettext("This preview is gone. Type `/retention audience save …` once more.")
        )
    preview = job.result or {}
    store.save(
        session,
        settings,
        preview["name"],
        parse(preview["expression"]),
        is_exclusion=preview["exclude"],
        customers=preview["customers"],
        as_of=datetime.fromisoformat(preview["as_of"]),
        by=click.user,
        replaces=(preview.get("replaces") or {}).get("expression"),
    )
    values = {**preview, "saved": True, "saved_by": click.user, "job_id": job.id}
    outbox.put(
        session,
        settings,
        Post("audience/preview", values, key=f"job:{job.id}"),
        default_channel=click.channel or click.user,
    )
