"""Handle the buttons and modals of campaigns."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial, wraps
from typing import Any, Literal
from zoneinfo import ZoneInfo

from slack_bolt import Ack, App

from bot import numbers
from bot.services import Services
from bot.slack.interactions import Click, Handler, Submit, confirm, listen, once, send_ephemeral
from retention.campaigns.lifecycle.edits import (
    MINUTE_FORMAT,
    OFFER_KINDS,
    SOON,
    Changes,
    named_offers,
)
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import (
    EDITABLE,
    STOPPABLE,
    StaleCampaign,
    Step,
    find_campaign,
)
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.message.wording import PLACEHOLDERS
from retention.campaigns.planning.remedies import cheaper_offer
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.errors import BadInput, Conflict, FieldErrors
from retention.outreach.adapter import MESSAGE_CHANNELS, is_text
from retention.risk.policy import load_policy
from retention.text import gettext, in_language
from workers import action_ids, user_roles
from workers.campaigns import decisions, messages
from workers.campaigns.follow_ups import channel_request
from workers.campaigns.job_requests import CampaignCsv, CampaignWiden
from workers.delivery import render
from workers.queue import jobs

# Block ids of the modals' inputs, by the name of the field that a `BadInput` may carry.
# A field that is not here has its own name.
_BLOCKS = {"expires_days": "expires", "copy_text": "copy", "reminder_text": "reminder"}
ANYONE = "anyone"  # of the approvers
MAX_LISTED = 9  # approvers in the window, which has room for ten options; more are searched by name
Transition = Callable[[Transaction, Step], Campaign]


def input_of(field: str) -> str:
    """Return the block id of a field's input."""
    return _BLOCKS.get(field, field)


def register(app: App, services: Services) -> None:
    """Listen to the buttons and modals."""
    clicks: dict[str, Handler] = {
        action_ids.SUBMIT_CAMPAIGN: partial(_apply_from_button, transition=decisions.submit),
        action_ids.APPROVE_CAMPAIGN: _approve,
        action_ids.CALL_OWNER: lambda services, click: None,  # Approve reads the choice
        action_ids.WIDEN_CAMPAIGN: _widen,
        action_ids.CHEAPER_CAMPAIGN: partial(_apply_from_button, transition=_choose_cheaper_offer),
        action_ids.EDIT_CAMPAIGN: partial(open_modal, deed="edit"),
        action_ids.REJECT_CAMPAIGN: partial(open_modal, deed="reject"),
        action_ids.STOP_CAMPAIGN: partial(open_modal, deed="stop"),
        action_ids.CAMPAIGN_CSV: partial(download, part="codes"),
        action_ids.CALL_LIST: partial(download, part="calls"),
    }
    submissions: dict[str, Submit] = {
        action_ids.EDIT_VIEW: _edit,
        action_ids.REJECT_VIEW: partial(_apply_with_reason, decide=decisions.reject),
        action_ids.STOP_VIEW: partial(_apply_with_reason, decide=decisions.stop),
    }
    listen(app, services, clicks, submissions)


def explains_stale(handle: Callable[..., None]) -> Callable[..., None]:
    """Explain a click on a message that shows an earlier state."""

    @wraps(handle)
    def handler(services: Services, click: Click, **options: Any) -> None:
        try:
            handle(services, click, **options)
        except StaleCampaign as stale:
            show_stale(services, click, stale)

    return handler


def _approve(services: Services, click: Click) -> None:
    approve = partial(decisions.approve, call_owner=_call_owner(click))
    _apply_from_button(services, click, transition=approve)


def _edit(services: Services, click: Click, ack: Ack) -> None:
    errors = FieldErrors()
    changes = _changes(click, errors, services.settings.zone)
    submitted: list[jobs.Submission] = []

    def transition(session: Transaction, step: Step) -> Campaign:
        # Inputs that cannot be parsed are left out here, so that the others are checked, too.
        with errors.collect():
            campaign = decisions.edit(session, step, changes)
        errors.raise_any()
        submitted[:] = _change_channel(session, click, campaign)
        return campaign

    advice = gettext("{stale} Copy what you typed, close this window and press Edit once more.")
    apply_from_modal(services, click, ack, transition, advice)
    for submission in submitted:
        services.queue.wake(submission.job)


@explains_stale
def _apply_from_button(services: Services, click: Click, transition: Transition) -> None:
    """Apply a button's transition once and confirm it."""
    campaign_id, version, _ = parse_target(click)
    with once(services, click) as session:
        campaign = transition(session, Step(campaign_id, click.user, version))
    shown = campaign_data(campaign, services.settings)
    send_ephemeral(services, click, "campaign/done", campaign=shown)


@explains_stale
def _widen(services: Services, click: Click) -> None:
    """Queue the wider draft that the campaign's message offers."""
    campaign_id, version, _ = parse_target(click)
    with once(services, click, CampaignWiden.role, CampaignWiden.deed) as session:
        campaign = find_campaign(session, campaign_id)
        wider = Body.of(campaign).wider
        if campaign.state not in EDITABLE or campaign.version != version or wider is None:
            raise StaleCampaign(campaign, version)
        chosen = wider.model_dump(include={"tier", "audience", "where"})
        request = CampaignWiden(campaign_id=campaign_id, version=version, **chosen)
        channel = campaign.channel or click.channel
        # The campaign's own message shows the result.
        submission = click.submit(session, request, channel, announce=False)
    confirm(services, click, submission, private=False)


def _change_channel(
    session: Transaction, click: Click, campaign: Campaign
) -> list[jobs.Submission]:
    """Queue a draft for the channel that the modal chose, if it is another one."""
    chosen = click.option("message_channel")
    if chosen is None or chosen == Body.of(campaign).message_channel:
        return []
    request = channel_request(session.settings, campaign, chosen)
    # The campaign's own message shows the result.
    options = {"idem_key": f"{click.key}:channel", "announce": False}
    return [click.submit(session, request, campaign.channel or click.user, **options)]


def _choose_cheaper_offer(session: Transaction, step: Step) -> Campaign:
    """Edit the campaign to the smallest cut of its offer that is expected to earn money."""
    campaign = find_campaign(session, step.campaign_id)
    changes = cheaper_offer(Body.of(campaign))
    if campaign.version != step.version or changes is None:
        raise StaleCampaign(campaign, step.version)
    return decisions.edit(session, step, changes)


# Role, what the person wants to do, and the states in which it is possible.
DEEDS = {
    "edit": ("analyst", gettext("edit a campaign"), EDITABLE),
    "reject": ("approver", gettext("reject a campaign"), ("submitted",)),
    "stop": ("viewer", gettext("stop a campaign"), STOPPABLE),
}


@explains_stale
def open_modal(services: Services, click: Click, deed: str) -> None:
    """Open a modal at once.

    Its trigger id lives three seconds.
    """
    campaign_id, version, _ = parse_target(click)
    role, action, states = DEEDS[deed]
    with services.database.reading() as session:
        user_roles.require(session, click.user, role, in_language(action))
        campaign = find_campaign(session, campaign_id)
        if campaign.state not in states or (campaign.version != version and deed != "stop"):
            raise StaleCampaign(campaign, version)
        approvers = decisions.approvers_of(session, campaign, click.user)
        if deed == "stop":
            decisions.stoppable_states(session, campaign, click.user)
    details = campaign_data(campaign, services.settings)
    if services.settings.is_switched_on("sms_webhook_url") or is_text(details["message_channel"]):
        details["message_channels"] = MESSAGE_CHANNELS
    is_edit = deed == "edit"
    policy = load_policy(services.settings) if is_edit else None
    view = render.view(
        "campaign/edit" if is_edit else "campaign/reason",
        campaign=details,
        value=f"{campaign_id}:{campaign.version}:{click.channel or ''}",
        deed=deed,
        named=list(named_offers(policy, details["kind"]).values()) if policy else [],
        written=[offer for offer in details["offers"] if offer["action"] != "call"],
        approvers=approvers if len(approvers) <= MAX_LISTED else None,
        send_at=_timestamp(details["send_on"]),
        places=", ".join(f"{{{name}}}" for name in PLACEHOLDERS),
        zone=services.settings.timezone,
    )
    services.client.views_open(trigger_id=click.trigger_id, view=view)


def apply_from_modal(
    services: Services, click: Click, ack: Ack, transition: Transition, advice: str = ""
) -> None:
    """Apply a modal's transition before the modal closes.

    A refusal then keeps the input. So does a campaign that another person has edited, if there is
    an ``advice`` what to do with the input; it has a field ``stale``.
    """
    campaign_id, version, channel = parse_target(click)
    try:
        with once(services, click) as session:
            transition(session, Step(campaign_id, click.user, version))
    except StaleCampaign as stale:
        if advice and stale.state in EDITABLE:
            update_message(services, stale)
            raise Conflict(advice.format(stale=stale)) from None
        ack()
        show_stale(services, replace(click, channel=channel), stale)
        return
    ack()


def _apply_with_reason(
    services: Services, click: Click, ack: Ack, decide: Callable[[Transaction, Step, str], Campaign]
) -> None:
    """Apply a decision with the reason that the modal asked for."""
    reason = click.answer("reason")
    apply_from_modal(services, click, ack, lambda session, step: decide(session, step, reason))


def download(services: Services, click: Click, part: Literal["codes", "calls"]) -> None:
    campaign_id, _, _ = parse_target(click)
    with once(services, click, CampaignCsv.role, CampaignCsv.deed) as session:
        find_campaign(session, campaign_id)
        request = CampaignCsv(campaign_id=campaign_id, part=part)
        # The call list is a message of its own.
        submission = click.submit(session, request, click.user, announce=part != "calls")
    title = gettext("Call list") if part == "calls" else None
    confirm(services, click, submission, private=True, title=title)


def show_stale(services: Services, click: Click, stale: StaleCampaign) -> None:
    """Show an earlier change to the person."""
    update_message(services, stale)
    send_ephemeral(services, click, "campaign/stale", **stale.template_values)


def update_message(services: Services, stale: StaleCampaign) -> None:
    with services.database.transaction() as session:
        messages.refresh_card(session, stale.campaign_id)


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
    percentage, amount = numbers.parse_percentage, numbers.parse_money
    discount = gettext("The discount is {typed!r}; write a number like 15.")
    holdout = gettext("The hold-out is {typed!r}; write a number like 15.")
    days = gettext("The codes' days are {typed!r}; write a whole number like 28.")
    money_off = gettext("Money off is {typed!r}; write an amount like 5, 12.50 or 1200.")
    order = gettext("From order value is {typed!r}; write an amount like 5, 12.50 or 1200.")
    budget = gettext("Budget is {typed!r}; write an amount like 5, 12.50 or 1200.")
    return Changes(
        name=_text(click, "name"),
        discount=parse("discount", percentage, discount),
        holdout=parse("holdout", percentage, holdout),
        expires_days=parse("expires_days", _days, days),
        copy_text=_text(click, "copy_text"),
        reminder_text=_optional_text(click, "reminder_text"),
        offer=_chosen_offer(click),
        amount=parse("amount", amount, money_off),
        min_order=parse("min_order", amount, order),
        budget=parse("budget", amount, budget),
        send_on=_send_on(click, zone),
        approver=_chosen_user(click),
    )


def _days(typed: str) -> int:
    return numbers.parse_integer(typed, 0, None)


def _text(click: Click, field: str) -> str:
    return click.answer(input_of(field))


def _optional_text(click: Click, field: str) -> str | None:
    """Return a text, or None for a window without its input."""
    return _text(click, field) if input_of(field) in click.state else None


def _timestamp(moment: str | None) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp()) if moment else None


def _send_on(click: Click, zone: ZoneInfo) -> str:
    """Return the chosen time as local time of the shop.

    A window of an earlier version has a text input instead of the picker.
    """
    if click.input("soon").get("selected_options"):
        return SOON
    chosen = click.input("send_on")
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
    chosen = (block.get(action_ids.CALL_OWNER, {}) for block in click.state.values())
    return next((one["selected_user"] for one in chosen if one.get("selected_user")), None)


def _chosen_user(click: Click) -> str | None:
    """Return the chosen approver, empty for anyone, or None for a window without this input."""
    if "approver" not in click.state:
        return None
    chosen = click.option("approver") or click.input("approver").get("selected_user")
    return "" if chosen in (None, ANYONE) else str(chosen)


def _chosen_offer(click: Click) -> str | None:
    """Return the chosen offer. It is None for the option that changes nothing."""
    chosen = click.option("offer")
    return chosen if chosen in OFFER_KINDS else None


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
