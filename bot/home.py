"""Show the App Home tab."""

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
from retention.text import gettext
from workers import ids, jobs, roles
from workers.delivery import render

QUICK_COMMANDS = (
    ("sweep", gettext("Who is at risk?"), "analyst"),
    ("digest", gettext("The week in one message"), "viewer"),
    ("retrain", gettext("Retrain the models"), "analyst"),
)


def register(app: App, services: Services) -> None:
    """Listen to the opened tab and its buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

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
        # A new job shows in the direct message.
        message = slash.answer(services, click.value, call, started)
        if isinstance(message, slash.OpenJobMessage):
            modal = render.view("bot/under_way_modal", job=message.job, own=message.own)
            client.views_open(trigger_id=click.trigger_id or "", view=modal)
        client.views_publish(user_id=click.user, view=view(services, click.user))


def view(services: Services, user: str) -> dict[str, Any]:
    """Render a person's Home tab.

    Parameters
    ----------
    services : Services
        The installation's services.
    user : str
        Slack user id.

    Returns
    -------
    dict
        A view for ``views.publish``.
    """
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
                for command, text, required_role in QUICK_COMMANDS
                if roles.allows(role, required_role)
            ],
            zone=settings.timezone,
            demo=settings.demo,
        )


def _waiting(session: Session, services: Services, user: str) -> list[dict[str, Any]]:
    """Return submitted campaigns the person may decide.

    These are campaigns that the person neither edited nor approved.
    """
    edited = select(CampaignEditor.campaign_id).where(CampaignEditor.user_id == user)
    campaigns = session.scalars(
        select(Campaign)
        .where(
            Campaign.team_id == services.settings.team_id,
            Campaign.state == "submitted",
            Campaign.id.not_in(edited),
        )
        .order_by(Campaign.submitted_at)
        .limit(10)
    ).all()
    return [
        {
            "id": campaign.id,
            "name": campaign.name,
            "by": campaign.submitted_by or campaign.drafted_by,
            "channel": campaign.channel or "",
            "expires_at": campaign.expires_at.isoformat() if campaign.expires_at else "",
        }
        for campaign in campaigns
        if user not in campaign.approved_by
    ]
