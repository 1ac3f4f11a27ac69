"""The buttons and modals of a campaign: Edit, Submit, Approve, Reject, Stop, Download CSV."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Literal

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot import numbers
from bot.interactions import Click, confirm, whisper
from bot.services import Services
from retention.campaigns import wording
from retention.campaigns.edits import OFFER_KINDS, SOON, Changes
from retention.campaigns.states import EDITABLE, STOPPABLE, StaleCampaign, find_campaign
from retention.campaigns.view import campaign_data
from retention.db.tables import Campaign
from retention.errors import BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext
from workers import campaigns, ids, jobs, roles
from workers.delivery import render
from workers.requests import CampaignCsv

MONEY = "an amount like 5, 12.50 or 1200"
Deed = Callable[[Session, Settings, str, int, str], Campaign]


def register(app: App, services: Services) -> None:
    """Listen to the buttons and modals."""

    @app.action(ids.SUBMIT_CAMPAIGN)
    def submit(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _press(services, Click.of(body), campaigns.submit)

    @app.action(ids.APPROVE_CAMPAIGN)
    def approve(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _press(services, Click.of(body), campaigns.approve)

    @app.action(ids.EDIT_CAMPAIGN)
    def edit(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _open(services, Click.of(body), "edit", "analyst", EDITABLE)

    @app.action(ids.REJECT_CAMPAIGN)
    def reject(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _open(services, Click.of(body), "reject", "approver", ("submitted",))

    @app.action(ids.STOP_CAMPAIGN)
    def stop(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _open(services, Click.of(body), "stop", "viewer", STOPPABLE)

    @app.action(ids.CAMPAIGN_CSV)
    def download(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _download(services, Click.of(body), "codes")

    @app.action(ids.CALL_LIST)
    def calls(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _download(services, Click.of(body), "calls")

    @app.view(ids.EDIT_VIEW)
    def edited(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        changes = _changes(click)

        def deed(
            session: Session, settings: Settings, campaign_id: str, version: int, user: str
        ) -> Campaign:
            return campaigns.edit(session, settings, campaign_id, version, user, changes)

        try:
            _submitted(services, ack, click, deed, keeps=EDITABLE)
        except StaleCampaign as stale:
            raise Conflict(
                gettext(
                    "{stale} Copy what you typed, close this window and press Edit once more."
                ).format(stale=stale)
            ) from None

    @app.view(ids.REJECT_VIEW)
    def rejected(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        reason = _typed(click, "reason")

        def deed(
            session: Session, settings: Settings, campaign_id: str, version: int, user: str
        ) -> Campaign:
            return campaigns.reject(session, settings, campaign_id, version, user, reason)

        _submitted(services, ack, click, deed)

    @app.view(ids.STOP_VIEW)
    def stopped(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        reason = _typed(click, "reason")

        def deed(
            session: Session, settings: Settings, campaign_id: str, version: int, user: str
        ) -> Campaign:
            return campaigns.stop(session, settings, campaign_id, user, reason)

        _submitted(services, ack, click, deed)


def _press(services: Services, click: Click, deed: Deed) -> None:
    """Do what a button says, once, and tell the person; a stale button is explained and its message repaired."""
    campaign_id, version, _ = _target(click)
    try:
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            campaign = deed(session, services.settings, campaign_id, version, click.user)
    except StaleCampaign as stale:
        _repair(services, click, stale)
        return
    whisper(services, click, "campaign/done", campaign=campaign_data(campaign))


def _open(services: Services, click: Click, deed: str, role: str, states: tuple[str, ...]) -> None:
    """Open a modal at once: its trigger lives three seconds."""
    campaign_id, version, _ = _target(click)
    try:
        with services.database.reading() as session:
            roles.require(session, services.settings, click.user, role, f"{deed} a campaign")
            campaign = find_campaign(session, services.settings, campaign_id)
            if campaign.state not in states or (campaign.version != version and deed != "stop"):
                raise StaleCampaign(campaign, version)
            if deed == "stop":
                campaigns.stoppable(session, services.settings, campaign, click.user)
    except StaleCampaign as stale:
        _repair(services, click, stale)
        return
    told = campaign_data(campaign)
    value = f"{campaign_id}:{campaign.version}:{click.channel or ''}"
    view = render.view(
        "campaign/edit" if deed == "edit" else "campaign/reason",
        campaign=told,
        value=value,
        deed=deed,
        written=[offer for offer in told["offers"] if offer["action"] != "call"],
        places=", ".join(f"{{{name}}}" for name in wording.PLACEHOLDERS),
        zone=services.settings.timezone,
    )
    services.client.views_open(trigger_id=click.trigger_id or "", view=view)


def _submitted(
    services: Services, ack: Ack, click: Click, deed: Deed, keeps: Collection[str] = ()
) -> None:
    """Do what a modal says before it closes, so that a refusal stays beside what was typed.

    Raises
    ------
    Stale
        Somebody was first, and it is in one of the states ``keeps``, in which what was typed is still of use: the modal stays.
    """
    campaign_id, version, channel = _target(click)
    try:
        with services.database.transaction() as session:
            if click.first_time(session):
                deed(session, services.settings, campaign_id, version, click.user)
    except StaleCampaign as stale:
        if stale.state in keeps:
            _reshow(services, stale)
            raise
        ack()
        _repair(services, replace(click, channel=channel), stale)
        return
    ack()


def _download(services: Services, click: Click, part: Literal["codes", "calls"]) -> None:
    campaign_id, _, _ = _target(click)
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
        )
    confirm(services, click, submission, private=True)


def _repair(services: Services, click: Click, stale: StaleCampaign) -> None:
    """Make the message show how things stand, and tell the person who was first, when and why."""
    _reshow(services, stale)
    whisper(services, click, "campaign/stale", **stale.template_values)


def _reshow(services: Services, stale: StaleCampaign) -> None:
    with services.database.transaction() as session:
        campaigns.show(session, services.settings, stale.campaign_id)


def _target(click: Click) -> tuple[str, int, str | None]:
    """Campaign, version and (in a modal) the channel it was opened in."""
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


def _changes(click: Click) -> Changes:
    return Changes(
        name=_typed(click, "name"),
        discount=_read(click, "discount", numbers.share, "The discount is", "a number like 15"),
        holdout=_read(click, "holdout", numbers.share, "The hold-out is", "a number like 15"),
        expires_days=_read(
            click, "expires", _days, "The codes' days are", "a whole number like 28"
        ),
        copy_text=_typed(click, "copy"),
        offer=_chosen(click, "offer"),
        amount=_read(click, "amount", numbers.money, "Money off is", MONEY),
        min_order=_read(click, "min_order", numbers.money, "From order value is", MONEY),
        budget=_read(click, "budget", numbers.money, "Budget is", MONEY),
        send_on=_typed(click, "send_on") or SOON,
    )


def _days(typed: str) -> int:
    return numbers.whole(typed, 0, None)


def _typed(click: Click, block: str) -> str:
    return (click.state.get(block, {}).get("value", {}).get("value") or "").strip()


def _chosen(click: Click, block: str) -> str | None:
    """An option of a menu; None for the one that leaves things as they are."""
    option = click.state.get(block, {}).get("value", {}).get("selected_option") or {}
    return option.get("value") if option.get("value") in OFFER_KINDS else None


def _read(click: Click, block: str, read: Callable[[str], Any], what: str, like: str) -> Any:
    """What was typed, read; None where nothing was."""
    typed = _typed(click, block)
    try:
        return read(typed) if typed else None
    except BadInput:
        raise BadInput(
            gettext("{what} {typed!r}; write {like}.").format(what=what, typed=typed, like=like)
        ) from None
