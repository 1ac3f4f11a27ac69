"""Handle the buttons of audiences."""

from datetime import datetime
from typing import Any

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, listen, submit
from retention.audiences import store
from retention.audiences.parse import parse
from retention.db import Transaction
from retention.db.tables import Job
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, roles
from workers.campaigns.requests import CampaignDraft
from workers.delivery import outbox
from workers.requests import AudienceSave, Sweep
from workers.tasks.interface import Post


def register(app: App, services: Services) -> None:
    """Listen to the buttons."""
    clicks = {ids.SAVE_AUDIENCE: _save, ids.AUDIENCE_SWEEP: _sweep, ids.AUDIENCE_DRAFT: _draft}
    listen(app, services, clicks)


def _sweep(services: Services, click: Click) -> None:
    submit(services, click, Sweep(audience=click.value), check=store.find)


def _draft(services: Services, click: Click) -> None:
    submit(services, click, CampaignDraft(audience=click.value, tier="low"), check=store.find)


def _save(services: Services, click: Click) -> None:
    """Save the audience of a preview and replace its buttons."""
    with services.database.transaction() as session:
        roles.require(session, click.user, AudienceSave.role, AudienceSave.deed)
        if not click.first_time(session):
            return
        job = session.get(Job, click.value)
        if job is None or job.team_id != session.settings.team_id or job.kind != AudienceSave.kind:
            text = gettext("This preview is gone. Type `/retention audience save …` once more.")
            raise BadInput(text)
        preview = job.result or {}
        save_counted(session, preview, click.user)
        values = {**preview, "saved": True, "saved_by": click.user, "job_id": job.id}
        post = Post("audience/preview", values, key=f"job:{job.id}")
        outbox.put(session, post, default_channel=click.place)


def save_counted(session: Transaction, counted: dict[str, Any], user: str) -> None:
    """Save the audience that a worker counted."""
    store.save(
        session,
        counted["name"],
        parse(counted["expression"]),
        is_exclusion=counted["exclude"],
        counted=store.Counted(counted["customers"], datetime.fromisoformat(counted["as_of"])),
        by=user,
        replaces=(counted.get("replaces") or {}).get("expression"),
    )
