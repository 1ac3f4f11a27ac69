"""App Home: what I may do, what is going on, what waits for me."""

import re
import time
from typing import Any

from slack_bolt import Ack, App
from slack_sdk import WebClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import slash
from bot.commands import SLACK, Call
from bot.commands.jobs import described
from bot.interactions import Click
from bot.services import Services
from retention.db.tables import Campaign, CampaignEditor
from workers import ids, jobs, roles
from workers.delivery import render

QUICK = (
    ("sweep", "Who is at risk?", "analyst"),
    ("digest", "The week in one message", "viewer"),
    ("retrain", "Retrain the models", "analyst"),
)


def register(app: App, services: Services) -> None:
    """Listen to the opened tab and to its buttons."""

    @app.event("app_home_opened")
    def opened(event: dict[str, Any], client: WebClient) -> None:
        if event.get("tab", "home") == "home":
            client.views_publish(user_id=event["user"], view=view(services, event["user"]))

    @app.action(re.compile(rf"^{re.escape(ids.HOME_RUN)}"))
    def run(ack: Ack, body: dict[str, Any], client: WebClient) -> None:
        started = time.monotonic()
        ack()
        click = Click.of(body)
        call = Call(services, click.user, SLACK, click.key, click.user)
        said = slash.answer(
            services, click.value, call, started
        )  # a new job shows in the direct message
        if isinstance(said, slash.UnderWay):
            modal = render.view("bot/under_way_modal", job=said.job, own=said.own)
            client.views_open(trigger_id=click.trigger_id or "", view=modal)
        client.views_publish(user_id=click.user, view=view(services, click.user))


def view(services: Services, user: str) -> dict[str, Any]:
    """A person's Home tab."""
    settings = services.settings
    with services.database.reading() as session:
        role = roles.role_of(session, settings, user)
        return render.view(
            "home/home",
            role=role,
            jobs=[described(job) for job in jobs.recent(session, settings, 5, requested_only=True)],
            waiting=_waiting(session, services, user) if roles.allows(role, "approver") else [],
            quick=[
                {"text": text, "command": command}
                for command, text, needed in QUICK
                if roles.allows(role, needed)
            ],
            zone=settings.timezone,
            demo=settings.demo,
        )


def _waiting(session: Session, services: Services, user: str) -> list[dict[str, Any]]:
    """Campaigns that this person may decide: submitted, neither drafted, edited nor approved already by them."""
    mine = select(CampaignEditor.campaign_id).where(CampaignEditor.user_id == user)
    found = session.scalars(
        select(Campaign)
        .where(
            Campaign.team_id == services.settings.team_id,
            Campaign.state == "submitted",
            Campaign.id.not_in(mine),
        )
        .order_by(Campaign.submitted_at)
        .limit(10)
    ).all()
    return [
        {
            "id": one.id,
            "name": one.name,
            "by": one.submitted_by or one.drafted_by,
            "channel": one.channel or "",
            "expires_at": one.expires_at.isoformat() if one.expires_at else "",
        }
        for one in found
        if user not in one.approved_by
    ]
