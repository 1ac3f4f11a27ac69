"""Handle the window that edits a campaign's text with a live preview."""

from dataclasses import replace
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot.addresses import address_of
from bot.interactions import Click
from bot.interactions.campaigns import INPUT_OF_FIELD, apply_from_modal, parse_target, show_stale
from bot.services import Services
from retention import clock
from retention.campaigns import text_placeholders
from retention.campaigns.edits import Changes
from retention.campaigns.email_text import default_text
from retention.campaigns.preview import masked_messages, preview_rows, send_time
from retention.campaigns.spec import Body
from retention.campaigns.states import EDITABLE, StaleCampaign, find_campaign
from retention.campaigns.text_check import missing_values
from retention.campaigns.view import campaign_data
from retention.db.tables import Campaign
from retention.errors import BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext
from workers import campaigns, ids, jobs, roles
from workers.delivery import render
from workers.requests import CampaignPreview

CUSTOMERS, REMINDED = 3, 1  # in the preview of each text
ROLE = "analyst"


def register(app: App, services: Services) -> None:
    """Listen to the window's input, button and submission.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.PREVIEW_COPY)
    def typed(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _show_preview(services, body)

    @app.action(ids.SEND_TO_ME)
    def send(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _send_to_me(services, body)

    @app.view(ids.COPY_VIEW)
    def submitted(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        texts = _typed_texts(click)

        def transition(
            session: Session, settings: Settings, campaign_id: str, version: int, user: str
        ) -> Campaign:
            changes = Changes(**texts)
            return campaigns.edit(session, settings, campaign_id, version, user, changes)

        try:
            apply_from_modal(services, ack, click, transition, open_states=EDITABLE)
        except StaleCampaign as stale:
            raise Conflict(
                gettext("{stale} Copy your text, close this window and open it once more.").format(
                    stale=stale
                )
            ) from None


def open_copy(services: Services, click: Click) -> None:
    """Open the window with the campaign's text.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        Its value is the campaign's id and version.
    """
    campaign_id, version, _ = parse_target(click)
    try:
        with services.database.reading() as session:
            action = gettext("edit a campaign")
            roles.require(session, services.settings, click.user, ROLE, action)
            campaign = find_campaign(session, services.settings, campaign_id)
            if campaign.state not in EDITABLE or campaign.version != version:
                raise StaleCampaign(campaign, version)
            target = f"{campaign_id}:{campaign.version}:{click.channel or ''}"
            view = _view(session, services.settings, campaign, target, {})
    except StaleCampaign as stale:
        show_stale(services, click, stale)
        return
    services.client.views_open(trigger_id=click.trigger_id or "", view=view)


def _show_preview(services: Services, body: dict[str, Any]) -> None:
    """Show the typed text for real customers."""
    click, view = _in_view(body)
    campaign_id, _, _ = parse_target(click)
    with services.database.reading() as session:
        roles.require(session, services.settings, click.user, ROLE, gettext("edit a campaign"))
        campaign = find_campaign(session, services.settings, campaign_id)
        shown = _view(session, services.settings, campaign, click.value, _typed_texts(click))
    services.client.views_update(view_id=view["id"], view=shown)


def _send_to_me(services: Services, body: dict[str, Any]) -> None:
    """Send the typed text to the person's own address, as a test."""
    click, view = _in_view(body)
    campaign_id, _, _ = parse_target(click)
    settings, texts = services.settings, _typed_texts(click)
    try:
        copy_text = text_placeholders.validate_text(texts["copy_text"])
    except BadInput:
        _show_preview(services, body)  # it explains what is wrong
        return
    request = CampaignPreview(
        campaign_id=campaign_id,
        picture=True,
        to_me=True,
        **address_of(services.client, click.user),
        copy_text=copy_text,
    )
    submission, problem = None, ""
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        campaign = find_campaign(session, settings, campaign_id)
        try:
            submission = jobs.submit(
                session,
                settings,
                request,
                requested_by=click.user,
                channel=click.user,
                idem_key=click.key,
                announce=False,
            )
        except BadInput as error:
            problem = str(error)
        trial = {"to": request.address, "problem": problem}
        shown = _view(session, settings, campaign, click.value, texts, trial=trial)
    if submission is not None and submission.created:
        services.queue.wake(submission.job)
    services.client.views_update(view_id=view["id"], view=shown)


def _view(
    session: Session,
    settings: Settings,
    campaign: Campaign,
    target: str,
    typed: dict[str, str],
    *,
    trial: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Render the window: each text, its variables and the messages of some customers."""
    data = campaign_data(campaign, settings)
    action = data["copy_action"]
    text = typed.get("copy_text", data["copy_text"])
    parts = [_part(session, settings, campaign, "copy_text", text, action, CUSTOMERS)]
    if reminder_action := data["reminder_action"]:
        default = default_text(reminder_action, settings, data["message_channel"])
        text = typed.get("reminder_text") or data["reminder_text"] or default
        parts.append(
            _part(session, settings, campaign, "reminder_text", text, reminder_action, REMINDED)
        )
    return render.view(
        "campaign/copy",
        campaign=data,
        value=target,
        parts=parts,
        variables=[f"{{{name}}}" for name in text_placeholders.PLACEHOLDERS],
        trial=trial,
    )


def _part(
    session: Session,
    settings: Settings,
    campaign: Campaign,
    field: str,
    text: str,
    action: str,
    customers: int,
) -> dict[str, Any]:
    """Check and preview one of the texts; ``error`` says why it cannot be used."""
    part = {"block": INPUT_OF_FIELD[field], "typed": text}
    try:
        text_placeholders.validate_text(text, field)
        rows = preview_rows(session, campaign, customers, action)
    except BadInput as refusal:
        return {**part, "error": str(refusal)}
    edited = Body.model_validate(campaign.body).model_copy(update={field: text})
    return {
        **part,
        "error": "",
        "lacks_code": field == "copy_text" and edited.lacks_code,
        "copies": masked_messages(settings, edited, rows, send_time(campaign, clock.now())),
        "missing": missing_values(session, settings, campaign, text, action),
    }


def _in_view(body: dict[str, Any]) -> tuple[Click, dict[str, Any]]:
    """Return the click, whose value is the window's campaign, and the window."""
    view = body["view"]
    return replace(Click.of(body), value=view["private_metadata"]), view


def _typed_texts(click: Click) -> dict[str, Any]:
    """Return the texts of the window, by field."""
    typed = {
        field: click.state[block].get(ids.PREVIEW_COPY, {}).get("value")
        for field in ("copy_text", "reminder_text")
        if (block := INPUT_OF_FIELD[field]) in click.state
    }
    return {"copy_text": ""} | {field: (text or "").strip() for field, text in typed.items()}
