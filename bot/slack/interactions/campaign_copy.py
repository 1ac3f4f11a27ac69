"""Handle the window that edits a campaign's text with a live preview."""

from dataclasses import replace
from functools import partial
from typing import Any

from slack_bolt import Ack, App

from bot.services import Services
from bot.slack.groups import address_of
from bot.slack.interactions import Click, Handler, listen, once
from bot.slack.interactions.campaigns import (
    apply_from_modal,
    explains_stale,
    input_of,
    parse_target,
)
from retention import clock
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import EDITABLE, StaleCampaign, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.message.preview import (
    masked_messages,
    missing_values,
    preview_rows,
    send_time,
)
from retention.campaigns.message.wording import PLACEHOLDERS, default_text, validate_text
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.errors import BadInput
from retention.text import gettext
from workers import action_ids, user_roles
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignPreview
from workers.delivery import render

CUSTOMERS, REMINDED = 3, 1  # in the preview of each text
ROLE = "analyst"


def register(app: App, services: Services) -> None:
    """Listen to the window's input, button and submission."""
    clicks: dict[str, Handler] = {
        action_ids.PREVIEW_COPY: _show_preview,
        action_ids.SEND_TO_ME: _send_to_me,
    }
    listen(app, services, clicks, {action_ids.COPY_VIEW: _save})


def _save(services: Services, click: Click, ack: Ack) -> None:
    edit = partial(decisions.edit, changes=Changes(**_typed_texts(click)))
    advice = gettext("{stale} Copy your text, close this window and open it once more.")
    apply_from_modal(services, click, ack, edit, advice)


@explains_stale
def open_copy(services: Services, click: Click) -> None:
    """Open the window with the campaign's text."""
    campaign_id, version, _ = parse_target(click)
    with services.database.reading() as session:
        user_roles.require(session, click.user, ROLE, gettext("edit a campaign"))
        campaign = find_campaign(session, campaign_id)
        if campaign.state not in EDITABLE or campaign.version != version:
            raise StaleCampaign(campaign, version)
        target = f"{campaign_id}:{campaign.version}:{click.channel or ''}"
        view = _view(session, campaign, target, {})
    services.client.views_open(trigger_id=click.trigger_id, view=view)


def _show_preview(services: Services, click: Click) -> None:
    """Show the typed text for real customers."""
    target = click.view["private_metadata"]
    campaign_id, _, _ = parse_target(replace(click, value=target))
    with services.database.reading() as session:
        user_roles.require(session, click.user, ROLE, gettext("edit a campaign"))
        campaign = find_campaign(session, campaign_id)
        shown = _view(session, campaign, target, _typed_texts(click))
    services.client.views_update(view_id=click.view["id"], view=shown)


def _send_to_me(services: Services, click: Click) -> None:
    """Send the typed text to the person's own address, as a test."""
    target, texts = click.view["private_metadata"], _typed_texts(click)
    campaign_id, _, _ = parse_target(replace(click, value=target))
    try:
        copy_text = validate_text(texts["copy_text"])
    except BadInput:
        _show_preview(services, click)  # it explains what is wrong
        return
    request = CampaignPreview(
        campaign_id=campaign_id,
        picture=True,
        to_me=True,
        **address_of(services, click.user),
        copy_text=copy_text,
    )
    submission, problem = None, ""
    with once(services, click, request.role, request.deed) as session:
        campaign = find_campaign(session, campaign_id)
        try:
            submission = click.submit(session, request, click.user, announce=False)
        except BadInput as error:
            problem = str(error)
        trial = {"to": request.address, "problem": problem}
        shown = _view(session, campaign, target, texts, trial=trial)
    if submission is not None and submission.created:
        services.queue.wake(submission.job)
    services.client.views_update(view_id=click.view["id"], view=shown)


def _view(
    session: Transaction,
    campaign: Campaign,
    target: str,
    typed: dict[str, str],
    *,
    trial: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Render the window: each text, its variables and the messages of some customers."""
    data = campaign_data(campaign, session.settings)
    action = data["copy_action"]
    text = typed.get("copy_text", data["copy_text"])
    parts = [_part(session, campaign, "copy_text", text, action, CUSTOMERS)]
    if reminder_action := data["reminder_action"]:
        default = default_text(
            reminder_action, session.settings, data["message_channel"], data["kind"]
        )
        text = typed.get("reminder_text") or data["reminder_text"] or default
        parts.append(_part(session, campaign, "reminder_text", text, reminder_action, REMINDED))
    return render.view(
        "campaign/copy",
        campaign=data,
        value=target,
        parts=parts,
        variables=[f"{{{name}}}" for name in PLACEHOLDERS],
        trial=trial,
    )


def _part(
    session: Transaction, campaign: Campaign, field: str, text: str, action: str, customers: int
) -> dict[str, Any]:
    """Check and preview one of the texts; ``error`` says why it cannot be used."""
    part = {"block": input_of(field), "typed": text}
    try:
        validate_text(text, field)
        rows = preview_rows(session, campaign, customers, action)
    except BadInput as refusal:
        return {**part, "error": str(refusal)}
    edited = Body.of(campaign).model_copy(update={field: text})
    sent_at = send_time(campaign, clock.now())
    return {
        **part,
        "error": "",
        "lacks_code": field == "copy_text" and edited.lacks_code,
        "copies": masked_messages(session.settings, edited, rows, sent_at),
        "missing": missing_values(session, campaign, text, action),
    }


def _typed_texts(click: Click) -> dict[str, Any]:
    """Return the texts of the window, by field."""
    typed = {
        field: click.state[block].get(action_ids.PREVIEW_COPY, {}).get("value")
        for field in ("copy_text", "reminder_text")
        if (block := input_of(field)) in click.state
    }
    return {"copy_text": ""} | {field: (text or "").strip() for field, text in typed.items()}
