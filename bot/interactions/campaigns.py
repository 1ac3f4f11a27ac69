"""Handle the buttons and modals of campaigns."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot import numbers
from bot.interactions import Click, confirm, send_ephemeral
from bot.services import Services
from retention.campaigns import text_placeholders
from retention.campaigns.edits import MINUTE_FORMAT, OFFER_KINDS, SOON, Changes
from retention.campaigns.remedies import cheaper_offer
from retention.campaigns.spec import Body
from retention.campaigns.states import EDITABLE, STOPPABLE, StaleCampaign, find_campaign
from retention.campaigns.view import campaign_data
from retention.db.tables import Campaign
from retention.errors import BadInput, Conflict, FieldErrors
from retention.outreach.channels import EMAIL, MESSAGE_CHANNELS, is_text
from retention.settings import Settings
from retention.text import gettext
from workers import campaign_messages, campaigns, ids, jobs, roles
from workers.campaign_channel import channel_request
from workers.delivery import render
from workers.requests import CampaignCsv, CampaignWiden

# Block ids of the modals' inputs, by the name of the field that a `BadInput` may carry.
INPUT_OF_FIELD = {
    "name": "name",
    "offer": "offer",
    "message_channel": "message_channel",
    "discount": "discount",
    "amount": "amount",
    "min_order": "min_order",
    "holdout": "holdout",
    "budget": "budget",
    "expires_days": "expires",
    "send_on": "send_on",
    "copy_text": "copy",
    "reminder_text": "reminder",
    "approver": "approver",
    "reason": "reason",
    "note": "note",
    "outcome": "outcome",
    "due": "due",
}
ANYONE = "anyone"  # of the approvers
MAX_LISTED = 9  # approvers in the window, which has room for ten options; more are searched by name
Transition = Callable[[Session, Settings, str, int, str], Campaign]


def register(app: App, services: Services) -> None:
    """Listen to the buttons and modals.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.SUBMIT_CAMPAIGN)
    def submit(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _apply_from_button(services, Click.of(body), campaigns.submit)

    @app.action(ids.APPROVE_CAMPAIGN)
    def approve(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        owner = _call_owner(click)
        _apply_from_button(services, click, partial(campaigns.approve, call_owner=owner))

    @app.action(ids.CALL_OWNER)
    def call_owner_chosen(ack: Ack) -> None:
        ack()  # Approve reads the choice

    @app.action(ids.WIDEN_CAMPAIGN)
    def widen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _widen(services, Click.of(body))

    @app.action(ids.CHEAPER_CAMPAIGN)
    def cheaper(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _apply_from_button(services, Click.of(body), _choose_cheaper_offer)

    @app.action(ids.EDIT_CAMPAIGN)
    def edit(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        open_modal(services, Click.of(body), "edit", "analyst", EDITABLE)

    @app.action(ids.REJECT_CAMPAIGN)
    def reject(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        open_modal(services, Click.of(body), "reject", "approver", ("submitted",))

    @app.action(ids.STOP_CAMPAIGN)
    def stop(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        open_modal(services, Click.of(body), "stop", "viewer", STOPPABLE)

    @app.action(ids.CAMPAIGN_CSV)
    def codes(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        download(services, Click.of(body), "codes")

    @app.action(ids.CALL_LIST)
    def calls(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        download(services, Click.of(body), "calls")

    @app.view(ids.EDIT_VIEW)
    def edited(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        errors = FieldErrors()
        changes = _changes(click, errors, services.settings.zone)
        submitted: list[jobs.Submission] = []

        def transition(
            session: Session, settings: Settings, campaign_id: str, version: int, user: str
        ) -> Campaign:
            # Inputs that cannot be parsed are left out here, so that the others are checked, too.
            with errors.collect():
                campaign = campaigns.edit(session, settings, campaign_id, version, user, changes)
            errors.raise_any()
            submitted[:] = _change_channel(session, settings, click, campaign)
            return campaign

        try:
            apply_from_modal(services, ack, click, transition, open_states=EDITABLE)
        except StaleCampaign as stale:
            raise Conflict(
                gettext(
                    "{stale} Copy what you typed, close this window and press Edit once more."
                ).format(stale=stale)
            ) from None
        for submission in submitted:
            services.queue.wake(submission.job)

    @app.view(ids.REJECT_VIEW)
    def rejected(ack: Ack, body: dict[str, Any]) -> None:
        _apply_with_reason(services, ack, Click.of(body), campaigns.reject)

    @app.view(ids.STOP_VIEW)
    def stopped(ack: Ack, body: dict[str, Any]) -> None:
        _apply_with_reason(services, ack, Click.of(body), _stop_any_version)


def _stop_any_version(
    session: Session, settings: Settings, campaign_id: str, _version: int, user: str, reason: str
) -> Campaign:
    return campaigns.stop(session, settings, campaign_id, user, reason)


def _apply_from_button(services: Services, click: Click, transition: Transition) -> None:
    """Apply a button's transition once and confirm it.

    A stale button is explained.
    """
    campaign_id, version, _ = parse_target(click)
    try:
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            campaign = transition(session, services.settings, campaign_id, version, click.user)
    except StaleCampaign as stale:
        show_stale(services, click, stale)
        return
    send_ephemeral(
        services, click, "campaign/done", campaign=campaign_data(campaign, services.settings)
    )


def _widen(services: Services, click: Click) -> None:
    """Queue the wider draft that the campaign's message offers.

    A stale button is explained.
    """
    campaign_id, version, _ = parse_target(click)
    settings = services.settings
    try:
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            campaign = find_campaign(session, settings, campaign_id)
            wider = Body.model_validate(campaign.body).wider
            if campaign.state not in EDITABLE or campaign.version != version or wider is None:
                raise StaleCampaign(campaign, version)
            submission = jobs.submit(
                session,
                settings,
                CampaignWiden(
                    campaign_id=campaign_id,
                    version=version,
                    tier=wider.tier,
                    audience=wider.audience,
                    where=wider.where,
                ),
                requested_by=click.user,
                channel=campaign.channel or click.channel,
                idem_key=click.key,
                announce=False,  # the campaign's own message shows the result
            )
    except StaleCampaign as stale:
        show_stale(services, click, stale)
        return
    confirm(services, click, submission, private=False)


def _change_channel(
    session: Session, settings: Settings, click: Click, campaign: Campaign
) -> list[jobs.Submission]:
    """Queue a draft for the channel that the modal chose, if it is another one."""
    block = click.state.get(INPUT_OF_FIELD["message_channel"], {}).get("value", {})
    chosen = (block.get("selected_option") or {}).get("value")
    if chosen is None or chosen == campaign.body.get("message_channel", EMAIL):
        return []
    submission = jobs.submit(
        session,
        settings,
        channel_request(settings, campaign, chosen),
        requested_by=click.user,
        channel=campaign.channel or click.user,
        idem_key=f"{click.key}:channel",
        announce=False,  # the campaign's own message shows the result
    )
    return [submission]


def _choose_cheaper_offer(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str
) -> Campaign:
    """Edit the campaign to the smallest cut of its offer that is expected to earn money."""
    campaign = find_campaign(session, settings, campaign_id)
    changes = cheaper_offer(Body.model_validate(campaign.body))
    if campaign.version != version or changes is None:
        raise StaleCampaign(campaign, version)
    return campaigns.edit(session, settings, campaign_id, version, user, changes)


def open_modal(
    services: Services, click: Click, deed: str, role: str, states: tuple[str, ...]
) -> None:
    """Open a modal at once.

    Its trigger id lives three seconds.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The pressed button. Its value is the campaign's id and version.
    deed : str
        ``edit``, ``reject`` or ``stop``.
    role : str
        The least role that may do it.
    states : tuple of str
        States in which it is possible.
    """
    campaign_id, version, _ = parse_target(click)
    action = {
        "edit": gettext("edit a campaign"),
        "reject": gettext("reject a campaign"),
        "stop": gettext("stop a campaign"),
    }[deed]
    try:
        with services.database.reading() as session:
            roles.require(session, services.settings, click.user, role, action)
            campaign = find_campaign(session, services.settings, campaign_id)
            if campaign.state not in states or (campaign.version != version and deed != "stop"):
                raise StaleCampaign(campaign, version)
            approvers = campaigns.approvers_of(session, services.settings, campaign, click.user)
            if deed == "stop":
                campaigns.stoppable_states(session, services.settings, campaign, click.user)
    except StaleCampaign as stale:
        show_stale(services, click, stale)
        return
    details = campaign_data(campaign, services.settings)
    if services.settings.is_switched_on("sms_webhook_url") or is_text(details["message_channel"]):
        details["message_channels"] = MESSAGE_CHANNELS
    value = f"{campaign_id}:{campaign.version}:{click.channel or ''}"
    view = render.view(
        "campaign/edit" if deed == "edit" else "campaign/reason",
        campaign=details,
        value=value,
        deed=deed,
        written=[offer for offer in details["offers"] if offer["action"] != "call"],
        approvers=approvers if len(approvers) <= MAX_LISTED else None,
        send_at=_timestamp(details["send_on"]),
        places=", ".join(f"{{{name}}}" for name in text_placeholders.PLACEHOLDERS),
        zone=services.settings.timezone,
    )
    services.client.views_open(trigger_id=click.trigger_id or "", view=view)


def apply_from_modal(
    services: Services,
    ack: Ack,
    click: Click,
    transition: Transition,
    open_states: Collection[str] = (),
) -> None:
    """Apply a modal's transition before the modal closes.

    A refusal then keeps the input.

    Raises
    ------
    StaleCampaign
        Another person was first and the campaign is in one of ``open_states``. The modal stays
        open, because the input can still be used.
    """
    campaign_id, version, channel = parse_target(click)
    try:
        with services.database.transaction() as session:
            if click.first_time(session):
                transition(session, services.settings, campaign_id, version, click.user)
    except StaleCampaign as stale:
        if stale.state in open_states:
            update_message(services, stale)
            raise
        ack()
        show_stale(services, replace(click, channel=channel), stale)
        return
    ack()


def _apply_with_reason(
    services: Services,
    ack: Ack,
    click: Click,
    decide: Callable[[Session, Settings, str, int, str, str], Campaign],
) -> None:
    """Apply a decision with the reason that the modal asked for."""
    reason = _text(click, "reason")

    def transition(
        session: Session, settings: Settings, campaign_id: str, version: int, user: str
    ) -> Campaign:
        return decide(session, settings, campaign_id, version, user, reason)

    apply_from_modal(services, ack, click, transition)


def download(services: Services, click: Click, part: Literal["codes", "calls"]) -> None:
    campaign_id, _, _ = parse_target(click)
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        find_campaign(session, services.settings, campaign_id)
        submission = jobs.submit(
            session,
            services.settings,
            CampaignCsv(campaign_id=campaign_id, part=part),
            requested_by=click.user,
            channel=click.user,
            idem_key=click.key,
            announce=part != "calls",  # the list is a message of its own
        )
    title = gettext("Call list") if part == "calls" else None
    confirm(services, click, submission, private=True, title=title)


def show_stale(services: Services, click: Click, stale: StaleCampaign) -> None:
    """Show an earlier change to the person."""
    update_message(services, stale)
    send_ephemeral(services, click, "campaign/stale", **stale.template_values)


def update_message(services: Services, stale: StaleCampaign) -> None:
    with services.database.transaction() as session:
        campaign_messages.refresh_card(session, services.settings, stale.campaign_id)


def parse_target(click: Click) -> tuple[str, int, str | None]:
    """Return campaign id, version and the modal's channel."""
    campaign_id, _, rest = click.value.partition(":")
    version, _, channel = rest.partition(":")
    if not version.isdigit():
        raise BadInput(
            gettext(
                "This button is of an older version of the desk; `/retention campaign show` "
                "has a new one."
            )
        )
    return campaign_id, int(version), channel or None


def _changes(click: Click, errors: FieldErrors, zone: ZoneInfo) -> Changes:
    """Parse the inputs; collect the errors of those that cannot be parsed."""
    parse = partial(_parse, click, errors)
    return Changes(
        name=_text(click, "name"),
        discount=parse(
            "discount",
            numbers.parse_percentage,
            gettext("The discount is {typed!r}; write a number like 15."),
        ),
        holdout=parse(
            "holdout",
            numbers.parse_percentage,
            gettext("The hold-out is {typed!r}; write a number like 15."),
        ),
        expires_days=parse(
            "expires_days",
            _days,
            gettext("The codes' days are {typed!r}; write a whole number like 28."),
        ),
        copy_text=_text(click, "copy_text"),
        reminder_text=_optional_text(click, "reminder_text"),
        offer=_chosen_offer(click),
        amount=parse(
            "amount",
            numbers.parse_money,
            gettext("Money off is {typed!r}; write an amount like 5, 12.50 or 1200."),
        ),
        min_order=parse(
            "min_order",
            numbers.parse_money,
            gettext("From order value is {typed!r}; write an amount like 5, 12.50 or 1200."),
        ),
        budget=parse(
            "budget",
            numbers.parse_money,
            gettext("Budget is {typed!r}; write an amount like 5, 12.50 or 1200."),
        ),
        send_on=_send_on(click, zone),
        approver=_chosen_user(click),
    )


def _days(typed: str) -> int:
    return numbers.parse_integer(typed, 0, None)


def _text(click: Click, field: str) -> str:
    block = click.state.get(INPUT_OF_FIELD[field], {})
    return (block.get("value", {}).get("value") or "").strip()


def _optional_text(click: Click, field: str) -> str | None:
    """Return a text, or None for a window without its input."""
    return _text(click, field) if INPUT_OF_FIELD[field] in click.state else None


def _timestamp(moment: str | None) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp()) if moment else None


def _send_on(click: Click, zone: ZoneInfo) -> str:
    """Return the chosen time as local time of the shop.

    A window of an earlier version has a text input instead of the picker.
    """
    if click.state.get("soon", {}).get("value", {}).get("selected_options"):
        return SOON
    chosen = click.state.get(INPUT_OF_FIELD["send_on"], {}).get("value", {})
    if "selected_date_time" not in chosen:
        return _text(click, "send_on") or SOON
    if not chosen["selected_date_time"]:
        return SOON
    local = datetime.fromtimestamp(int(chosen["selected_date_time"]), zone)
    offsets = {local.replace(fold=fold).utcoffset() for fold in (0, 1)}
    # A local time that comes twice needs its offset.
    return local.isoformat(" ", "minutes") if len(offsets) > 1 else f"{local:{MINUTE_FORMAT}}"


def _call_owner(click: Click) -> str | None:
    """Return the person chosen above the Approve button, if any."""
    chosen = (block.get(ids.CALL_OWNER, {}) for block in click.state.values())
    return next((one["selected_user"] for one in chosen if one.get("selected_user")), None)


def _chosen_user(click: Click) -> str | None:
    """Return the chosen approver, empty for anyone, or None for a window without this input."""
    block = click.state.get(INPUT_OF_FIELD["approver"], {}).get("value")
    if block is None:
        return None
    chosen = (block.get("selected_option") or {}).get("value") or block.get("selected_user")
    return "" if chosen in (None, ANYONE) else str(chosen)


def _chosen_offer(click: Click) -> str | None:
    """Return the chosen offer.

    It is None for the option that changes nothing.
    """
    block = click.state.get(INPUT_OF_FIELD["offer"], {})
    option = block.get("value", {}).get("selected_option") or {}
    return option.get("value") if option.get("value") in OFFER_KINDS else None


def _parse(
    click: Click, errors: FieldErrors, field: str, parse: Callable[[str], Any], message: str
) -> Any:
    """Parse a text input.

    The result is None if it is empty, or if its error was collected. The message has a field
    ``typed``.
    """
    typed = _text(click, field)
    with errors.collect():
        try:
            return parse(typed) if typed else None
        except BadInput:
            raise BadInput(message.format(typed=typed), field=field) from None
    return None
