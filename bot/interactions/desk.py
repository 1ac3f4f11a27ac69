"""Handle the buttons of digests and App Home: approvals, campaigns and commands."""

import re
import time
from typing import Any

from slack_bolt import Ack, App

from bot import home, slash
from bot.answers import show_answer
from bot.commands import SLACK, Call
from bot.interactions import Click
from bot.services import Services
from retention.campaigns.states import StaleCampaign
from workers import campaign_messages, campaigns, ids, roles
from workers.delivery import render

NOT_IN_MODALS = {"table", "data_table", "data_visualization", "actions"}


def register(app: App, services: Services) -> None:
    """Listen to the buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(re.compile(rf"^{re.escape(ids.RUN_COMMAND)}(\.\d+)?$"))
    def run(ack: Ack, body: dict[str, Any]) -> None:
        started = time.monotonic()
        ack()
        click = Click.of(body)
        call = Call(services, click.user, SLACK, click.key, click.channel or click.user)
        message = slash.answer(services, click.value, call, started)
        show_answer(services, click.response_url or "", click.user, message)

    @app.action(ids.OPEN_APPROVALS)
    def approvals(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        services.client.views_open(
            trigger_id=click.trigger_id or "", view=_approvals(services, click.user)
        )

    @app.action(ids.OPEN_CAMPAIGN)
    def campaign(ack: Ack, body: dict[str, Any]) -> None:
        started = time.monotonic()
        ack()
        click = Click.of(body)
        call = Call(services, click.user, SLACK, click.key, click.user)
        message = slash.answer(services, f"campaign show {click.value}", call, started)
        blocks = [block for block in message.blocks if block["type"] not in NOT_IN_MODALS]
        view = {**render.view("bot/campaign_modal"), "blocks": blocks}
        is_in_modal = (body.get("view") or {}).get("type") == "modal"
        show = services.client.views_push if is_in_modal else services.client.views_open
        show(trigger_id=click.trigger_id or "", view=view)

    @app.action(ids.DESK_APPROVE)
    def approve(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        campaign_id, _, version = click.value.partition(":")
        try:
            with services.database.transaction() as session:
                if click.first_time(session):
                    campaigns.approve(
                        session, services.settings, campaign_id, int(version), click.user
                    )
        except StaleCampaign as stale:
            with services.database.transaction() as session:
                campaign_messages.refresh_card(session, services.settings, stale.campaign_id)
            raise
        finally:
            _refresh(services, body, click.user)


def _approvals(services: Services, user: str) -> dict[str, Any]:
    """Render the window with the campaigns that wait for a person."""
    with services.database.reading() as session:
        role = roles.role_of(session, services.settings, user)
        waiting = home.waiting_campaigns(home.Desk(services, session, user, role))
    return render.view(
        "bot/approvals",
        waiting=waiting,
        allowed=roles.allows(role, "approver"),
        role=role,
        zone=services.settings.timezone,
    )


def _refresh(services: Services, body: dict[str, Any], user: str) -> None:
    """Show what still waits, in the window or on App Home."""
    view = body.get("view") or {}
    if view.get("type") == "modal":
        services.client.views_update(view_id=view["id"], view=_approvals(services, user))
    else:
        services.client.views_publish(user_id=user, view=home.view(services, user))
