"""Handle the buttons of digests and App Home: approvals, campaigns and commands."""

import re
from typing import Any

from slack_bolt import App

from bot.commands.tree import SLACK, Call
from bot.services import Services
from bot.slack import home, slash
from bot.slack.builder import show_answer
from bot.slack.interactions import Click, Handler, listen, show_modal
from retention.campaigns.lifecycle.states import StaleCampaign, Step
from workers import ids, roles
from workers.campaigns import decisions, messages
from workers.delivery import render

NOT_IN_MODALS = {"table", "data_table", "data_visualization", "actions"}


def register(app: App, services: Services) -> None:
    """Listen to the buttons."""
    clicks: dict[Any, Handler] = {
        re.compile(rf"^{re.escape(ids.RUN_COMMAND)}(\.\d+)?$"): _run,
        ids.OPEN_APPROVALS: _open_approvals,
        ids.OPEN_CAMPAIGN: _open_campaign,
        ids.DESK_APPROVE: _approve,
    }
    listen(app, services, clicks)


def _run(services: Services, click: Click) -> None:
    call = Call(services, click.user, SLACK, click.key, click.place)
    message = slash.answer(call, click.value)
    show_answer(services, click.response_url or "", click.user, message)


def _open_approvals(services: Services, click: Click) -> None:
    show_modal(services, click, _approvals(services, click.user))


def _open_campaign(services: Services, click: Click) -> None:
    call = Call(services, click.user, SLACK, click.key, click.user)
    message = slash.answer(call, f"campaign show {click.value}")
    blocks = [block for block in message.blocks if block["type"] not in NOT_IN_MODALS]
    show_modal(services, click, {**render.view("bot/campaign_modal"), "blocks": blocks})


def _approve(services: Services, click: Click) -> None:
    campaign_id, _, version = click.value.partition(":")
    try:
        with services.database.transaction() as session:
            if click.first_time(session):
                decisions.approve(session, Step(campaign_id, click.user, int(version)))
    except StaleCampaign as stale:
        with services.database.transaction() as session:
            messages.refresh_card(session, stale.campaign_id)
        raise
    finally:
        _refresh(services, click)


def _approvals(services: Services, user: str) -> dict[str, Any]:
    """Render the window with the campaigns that wait for a person."""
    with services.database.reading() as session:
        role = roles.role_of(session, user)
        waiting = home.waiting_campaigns(home.Desk(services, session, user, role))
    return render.view(
        "bot/approvals",
        waiting=waiting,
        allowed=roles.allows(role, "approver"),
        role=role,
        zone=services.settings.timezone,
    )


def _refresh(services: Services, click: Click) -> None:
    """Show what still waits, in the window or on App Home."""
    if click.is_in_modal:
        shown = _approvals(services, click.user)
        services.client.views_update(view_id=click.view["id"], view=shown)
    else:
        shown = home.view(services, click.user)
        services.client.views_publish(user_id=click.user, view=shown)
