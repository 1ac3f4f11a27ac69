"""What people and time do to campaigns, and what Slack then shows: roles checked, the move, the message, its thread.

Every function works in the caller's session: the move, its audit row and the messages are one transaction.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns import approval, due, late_orders, redemptions
from retention.campaigns.approval import Changes
from retention.campaigns.states import CLOCK, IN_CLEARANCE, STOPPABLE, StaleCampaign, find_campaign
from retention.campaigns.view import campaign_data
from retention.db.audit import record
from retention.db.tables import Campaign, CampaignEditor, Outbox
from retention.errors import Conflict, NotAllowed
from retention.outreach import send_summary, sends
from retention.settings import Settings
from retention.text import gettext
from workers import roles
from workers.delivery import outbox
from workers.failure_isolation import apart
from workers.requests import REQUESTS, Request
from workers.tasks.contract import Post


def submit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    channel: str | None = None,
) -> Campaign:
    """Submit a draft. One that was drafted in the terminal gets the channel it is submitted in."""
    roles.require(session, settings, user, "analyst", "submit a campaign")
    campaign = approval.submit(session, settings, campaign_id, version, user, clock.now())
    if campaign.channel is None and channel is not None:
        campaign.channel = channel
        session.flush()
    return _shown(session, settings, campaign, "submitted", user)


def approve(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str
) -> Campaign:
    """Approve a version that others wrote; the clearance time begins."""
    if user == roles.OPERATOR:
        raise NotAllowed(
            gettext(
                "The terminal's operator cannot approve; somebody with the role approver has "
                "to, by name."
            )
        )
    roles.require(session, settings, user, "approver", "approve a campaign")
    campaign, sizes = approval.approve(session, settings, campaign_id, version, user, clock.now())
    if campaign.state != "approved":
        return _shown(session, settings, campaign, "first", user)
    _shown(session, settings, campaign, "approved", user, left_out=sizes["excluded"])
    opened = clearance(settings, campaign, version, treated=sizes["treatment"])
    outbox.put(session, settings, opened, default_channel=campaign.channel)
    return campaign


def reject(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, reason: str
) -> Campaign:
    """Reject a version, with a reason."""
    roles.require(session, settings, user, "approver", "reject a campaign")
    campaign = approval.reject(session, settings, campaign_id, version, user, reason, clock.now())
    return _shown(session, settings, campaign, "rejected", user)


def stop(
    session: Session, settings: Settings, campaign_id: str, user: str, reason: str
) -> Campaign:
    """Stop a campaign, with a reason; its codes become worthless."""
    before = find_campaign(session, settings, campaign_id)
    states = stoppable(session, settings, before, user)
    campaign = approval.stop(session, settings, campaign_id, user, reason, clock.now(), states)
    recount(session, settings, campaign)
    return _shown(session, settings, campaign, "cancelled", user)


def stoppable(
    session: Session, settings: Settings, campaign: Campaign, user: str
) -> Collection[str]:
    """The states in which this person may stop it: an approver in all; in the clearance time anybody; who drafted it until then.

    Raises
    ------
    NotAllowed
        They may not as it stands now.
    """
    if roles.allows(roles.role_of(session, settings, user), "approver"):
        return STOPPABLE
    mine = ("draft", "submitted", *IN_CLEARANCE) if campaign.drafted_by == user else IN_CLEARANCE
    if campaign.state in STOPPABLE and campaign.state not in mine:
        roles.require(
            session, settings, user, "approver", "stop a campaign outside its clearance time"
        )
    return mine


def edit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    changes: Changes,
) -> Campaign:
    """Write the next version; it has to be submitted (again)."""
    roles.require(session, settings, user, "analyst", "edit a campaign")
    campaign = approval.edit(session, settings, campaign_id, version, user, changes, clock.now())
    return _shown(session, settings, campaign, "edited", user)


def release(
    session: Session,
    settings: Settings,
    campaign_id: str,
    user: str,
    *,
    again: bool,
    copy: int | None = None,
) -> int:
    """Send held copies once more, or let them count as sent; returns how many.

    Raises
    ------
    Conflict
        None is held (any more), or the campaign is over, so that nothing is sent again.
    """
    roles.require(session, settings, user, "approver", "release held copies")
    campaign = find_campaign(session, settings, campaign_id, lock=True)
    if again and campaign.state != "live":
        raise Conflict(
            gettext(
                "Campaign {name!r} is {state}, so nothing of it is sent any more; let what is "
                "held count as sent: campaign release {id} sent."
            ).format(name=campaign.name, state=campaign.state, id=campaign.id)
        )
    freed = sends.release_held(session, campaign_id, again, copy)
    if not freed:
        which = f"Copy {copy}" if copy is not None else "No copy"
        raise Conflict(
            gettext(
                "{which} of campaign {name!r} is {value}held; `campaign held {id}` lists those "
                "that are."
            ).format(
                which=which,
                name=campaign.name,
                value="not " if copy is not None else "",
                id=campaign.id,
            )
        )
    now = clock.now()
    details = {
        "copies": freed,
        "as": "queued" if again else "sent",
        "copy": copy,
        "version": campaign.version,
    }
    record(session, settings, user, "campaign.release", campaign.id, now, details)
    told = line(settings, campaign, "released", user, copies=freed, again=again)
    once = replace(
        told, key=f"{told.key}:{now.isoformat()}"
    )  # a version may have held copies more than once
    for post in (once, delivered(session, settings, campaign)):
        outbox.put(session, settings, post, default_channel=campaign.channel)
    return freed


def delivered(session: Session, settings: Settings, campaign: Campaign, stopped: str = "") -> Post:
    """The line of how many copies went out so far, and why no more do (else empty)."""
    counts = send_summary.counts(session, campaign.id)
    return line(settings, campaign, "delivered", CLOCK, counts=counts, stopped=stopped)


def recount(session: Session, settings: Settings, campaign: Campaign) -> None:
    """What has become of its copies otherwise than by sending: the line that counts them says so, where there is one to count."""
    if send_summary.counts(session, campaign.id):
        told = delivered(session, settings, campaign)
        outbox.put(session, settings, told, default_channel=campaign.channel)


def expire(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Expire what nobody decided on, or sent, in time; returns the ids."""
    gone = []
    for campaign_id in due.expired_campaigns(session, settings, now):
        with _apart(session, settings, campaign_id):
            decided = find_campaign(session, settings, campaign_id).state != "submitted"
            try:
                campaign = approval.expire(session, settings, campaign_id, now)
            except StaleCampaign:  # decided at this very moment
                continue
            _shown(session, settings, campaign, "lapsed" if decided else "expired", CLOCK)
            gone.append(campaign_id)
    for campaign_id in due.failed_sendings(session, settings, now):
        with _apart(session, settings, campaign_id):
            why = "It could not be sent before its approval expired; draft it anew."
            try:
                campaign = approval.stop(
                    session, settings, campaign_id, CLOCK, why, now, ("sending",)
                )
            except StaleCampaign:  # sent after all, or stopped, at this very moment
                continue
            _shown(session, settings, campaign, "cancelled", CLOCK)
            gone.append(campaign_id)
    return gone


def schedule(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Schedule what nobody stopped in its clearance time; returns the ids."""
    through = []
    for campaign_id in due.cleared_campaigns(session, settings, now):
        with _apart(session, settings, campaign_id):
            try:
                approval.schedule(session, settings, campaign_id, now)
            except StaleCampaign:  # stopped at this very moment
                continue
            show(session, settings, campaign_id)
            through.append(campaign_id)
    return through


def remind(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Remind those who may decide, each by direct message and all in the thread; returns the ids."""
    reminded = []
    for campaign_id in due.campaigns_to_remind(session, settings, now):
        with _apart(session, settings, campaign_id):
            try:
                campaign = approval.remind(session, settings, campaign_id, now)
            except StaleCampaign:  # decided at this very moment
                continue
            who = approvers(session, settings, campaign)
            told = line(settings, campaign, "reminder", CLOCK, approvers=who)
            outbox.put(session, settings, told, default_channel=campaign.channel)
            for user in who:
                reminder = _reminder(campaign, campaign.version, user)
                outbox.put(session, settings, reminder, default_channel=user)
            reminded.append(campaign_id)
    return reminded


def _apart(session: Session, settings: Settings, campaign_id: str) -> AbstractContextManager[None]:
    """What is due of a campaign, so that its failure is told in its thread and stops no other."""
    campaign = find_campaign(session, settings, campaign_id)
    what = f"campaign:{campaign_id}"
    return apart(session, settings, what, channel=campaign.channel, thread_key=campaign.post_key)


def approvers(session: Session, settings: Settings, campaign: Campaign) -> list[str]:
    """Everybody known by name who may still approve the version at hand."""
    wrote = set(
        session.scalars(
            select(CampaignEditor.user_id).where(CampaignEditor.campaign_id == campaign.id)
        )
    )
    may = roles.holders(session, settings, "approver")
    return [user for user in may if user not in wrote and user not in campaign.approved_by]


def report_misuse(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Tell each campaign's thread, in one message a day, of codes used twice, by others, or out of their time."""
    told = []
    for campaign_id, counts in redemptions.mark_misuses_announced(session, settings).items():
        with _apart(session, settings, campaign_id):
            campaign = find_campaign(session, settings, campaign_id)
            post = line(settings, campaign, "misuse", "clock", counts=counts)
            day = f"{post.key}:{now.astimezone(settings.zone):%Y-%m-%d}"
            post = Post(post.template, post.values, day, post.channel, post.thread_key)
            outbox.put(session, settings, post, default_channel=campaign.channel)
            told.append(campaign_id)
    return told


def report_late(session: Session, settings: Settings) -> None:
    """Tell in each campaign's thread, in one message, of orders of its window that came in after its result."""
    for campaign_id in late_orders.mark_announced(session, settings):
        with _apart(session, settings, campaign_id):
            campaign = find_campaign(session, settings, campaign_id)
            post = line(settings, campaign, "later", CLOCK)
            outbox.put(session, settings, post, default_channel=campaign.channel)


def requests(
    session: Session, settings: Settings, now: datetime
) -> list[tuple[Request, str, str, str | None, str]]:
    """The jobs due by now: (request, idempotency key, on whose behalf, channel, thread key).

    They run on behalf of who approved last; where one who approved may no longer do so, the desk itself measures, and
    what was not sent yet is stopped.
    """
    found: list[tuple[Request, str, str, str | None, str]] = []
    for job in due.due_jobs(session, settings, now):
        with _apart(session, settings, job.args["campaign_id"]):
            behalf = job.requested_by
            lost = [
                user
                for user in (*job.answerable, behalf)
                if not roles.allows(roles.role_of(session, settings, user), "approver")
            ]
            if lost and job.kind == "campaign_send":
                _withdraw(session, settings, job.args["campaign_id"], lost[0], now)
                continue
            behalf = roles.OPERATOR if behalf in lost else behalf
            request = REQUESTS[job.kind].model_validate(job.args)
            found.append((request, job.idem_key, behalf, job.channel, job.thread_key))
    return found


def card(settings: Settings, campaign: Campaign) -> Post:
    """The campaign's one message, as it stands now, with the buttons that it still has."""
    return Post(
        "campaign/card",
        {"campaign": campaign_data(campaign), "demo": settings.demo},
        key=campaign.post_key,
    )


def line(settings: Settings, campaign: Campaign, what: str, who: str, **values: Any) -> Post:
    """A line in the campaign's thread."""
    return Post(
        "campaign/line",
        {
            "what": what,
            "who": who,
            "campaign": campaign_data(campaign),
            "at": clock.now(),
            **values,
        },
        key=f"campaign:{campaign.id}:{what}:{campaign.version}",
        channel=campaign.channel,
        thread_key=campaign.post_key,
    )


def clearance(
    settings: Settings, campaign: Campaign, version: int | None = None, treated: int | None = None
) -> Post:
    """The clearance time of a version, in the thread: to how many it goes and a Stop button while it lasts, then what became of it."""
    version = version or campaign.version
    values = {
        "campaign": campaign_data(campaign),
        "version": version,
        "treated": treated,
        "open": campaign.state in IN_CLEARANCE and campaign.version == version,
    }
    key = f"campaign:{campaign.id}:clearance:{version}"
    return Post("campaign/clearance", values, key, campaign.channel, campaign.post_key)


def show(session: Session, settings: Settings, campaign_id: str) -> Campaign:
    """Make the campaign's message say how it stands, whatever it says now."""
    campaign = find_campaign(session, settings, campaign_id)
    outbox.put(session, settings, card(settings, campaign), default_channel=campaign.channel)
    return campaign


def _reminder(campaign: Campaign, version: int, user: str) -> Post:
    """The reminder to one approver, with the buttons as long as they decide anything."""
    values = {"campaign": campaign_data(campaign), "version": version, "user": user}
    return Post(
        "campaign/reminder",
        values,
        f"campaign:{campaign.id}:reminder:{version}:{user}",
        channel=user,
    )


def _shown(
    session: Session, settings: Settings, campaign: Campaign, what: str, who: str, **values: Any
) -> Campaign:
    for post in (card(settings, campaign), line(settings, campaign, what, who, **values)):
        outbox.put(session, settings, post, default_channel=campaign.channel)
    _disarm(session, settings, campaign)
    return campaign


def _disarm(session: Session, settings: Settings, campaign: Campaign) -> None:
    """Where a message of this campaign has buttons that decide nothing any more, they give way to how it stands."""
    told = f"campaign:{campaign.id}:"
    keys = session.scalars(select(Outbox.key).where(Outbox.key.startswith(told))).all()
    for key in keys:
        match key.removeprefix(told).split(":"):
            # Those of older versions are disarmed already.
            case ["reminder", version, user] if int(version) >= campaign.version - 1:
                post = _reminder(campaign, int(version), user)
            case ["clearance", version] if campaign.state not in IN_CLEARANCE:
                post = clearance(settings, campaign, int(version))
            case _:
                continue
        outbox.put(session, settings, post, default_channel=post.channel)


def _withdraw(
    session: Session, settings: Settings, campaign_id: str, approver: str, now: datetime
) -> None:
    campaign = approval.stop(
        session,
        settings,
        campaign_id,
        CLOCK,
        f"{approver}, who approved it, may no longer approve campaigns.",
        now,
    )
    _shown(session, settings, campaign, "cancelled", CLOCK)
