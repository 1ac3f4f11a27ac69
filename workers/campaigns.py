"""Change campaigns and update their Slack messages.

Every function runs in the caller's session. The change, its audit row and the messages are one
transaction.
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
from retention.db.tables import Campaign, CampaignEditor, Cohort, Outbox
from retention.errors import BadInput, Conflict, NotAllowed
from retention.outreach import send_summary, sends
from retention.settings import Settings
from retention.text import gettext
from workers import roles
from workers.completion import isolated
from workers.delivery import outbox
from workers.requests import REQUESTS, Request
from workers.tasks.interface import Post


def submit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    channel: str | None = None,
) -> Campaign:
    """Submit a draft for approval.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    channel : str, optional
        Where it was submitted. A campaign drafted in the terminal gets this channel.

    Returns
    -------
    Campaign
        The submitted campaign.

    Raises
    ------
    NotAllowed
        The person is no analyst.
    """
    roles.require(session, settings, user, "analyst", gettext("submit a campaign"))
    campaign = approval.submit(session, settings, campaign_id, version, user, clock.now())
    if campaign.channel is None and channel is not None:
        campaign.channel = channel
        session.flush()
    return _show_change(session, settings, campaign, "submitted", user)


def approve(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str
) -> Campaign:
    """Approve a version that other people wrote.

    The last approval starts the clearance time.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.

    Returns
    -------
    Campaign
        The campaign after the approval.

    Raises
    ------
    NotAllowed
        The person is no approver, or is the terminal's operator.
    """
    if user == roles.OPERATOR:
        raise NotAllowed(
            gettext(
                "The terminal's operator cannot approve; somebody with the role approver has "
                "to, by name."
            )
        )
    roles.require(session, settings, user, "approver", gettext("approve a campaign"))
    campaign, sizes = approval.approve(session, settings, campaign_id, version, user, clock.now())
    if campaign.state != "approved":
        return _show_change(session, settings, campaign, "first", user)
    _show_change(session, settings, campaign, "approved", user, left_out=sizes["excluded"])
    opened = clearance_post(settings, campaign, version, treated=sizes["treatment"])
    outbox.put(session, settings, opened, default_channel=campaign.channel)
    return campaign


def reject(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, reason: str
) -> Campaign:
    """Reject a version.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    reason : str
        Shown in the thread.

    Returns
    -------
    Campaign
        The rejected campaign.

    Raises
    ------
    NotAllowed
        The person is no approver.
    """
    roles.require(session, settings, user, "approver", gettext("reject a campaign"))
    campaign = approval.reject(session, settings, campaign_id, version, user, reason, clock.now())
    return _show_change(session, settings, campaign, "rejected", user)


def stop(
    session: Session, settings: Settings, campaign_id: str, user: str, reason: str
) -> Campaign:
    """Stop a campaign and invalidate its codes.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    user : str
        Slack user id, or `roles.OPERATOR`.
    reason : str
        Shown in the thread.

    Returns
    -------
    Campaign
        The stopped campaign.

    Raises
    ------
    NotAllowed
        The person may not stop it in its present state.
    """
    before = find_campaign(session, settings, campaign_id)
    states = stoppable_states(session, settings, before, user)
    campaign = approval.stop(session, settings, campaign_id, user, reason, clock.now(), states)
    refresh_counts(session, settings, campaign)
    return _show_change(session, settings, campaign, "cancelled", user)


def stoppable_states(
    session: Session, settings: Settings, campaign: Campaign, user: str
) -> Collection[str]:
    """Return the campaign states a person may stop.

    An approver may stop it in all of them, its author until the clearance time ends, and everyone
    else in the clearance time.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    user : str
        Slack user id, or `roles.OPERATOR`.

    Returns
    -------
    Collection[str]
        States of a campaign.

    Raises
    ------
    NotAllowed
        The person may not stop it in its present state.
    """
    if roles.allows(roles.role_of(session, settings, user), "approver"):
        return STOPPABLE
    own_states = (
        ("draft", "submitted", *IN_CLEARANCE) if campaign.drafted_by == user else IN_CLEARANCE
    )
    if campaign.state in STOPPABLE and campaign.state not in own_states:
        roles.require(
            session,
            settings,
            user,
            "approver",
            gettext("stop a campaign outside its clearance time"),
        )
    return own_states


def edit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    changes: Changes,
) -> Campaign:
    """Write the next version, which must be submitted again.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    changes : Changes
        The fields to change.

    Returns
    -------
    Campaign
        The edited campaign.

    Raises
    ------
    NotAllowed
        The person is no analyst.
    """
    roles.require(session, settings, user, "analyst", gettext("edit a campaign"))
    campaign = approval.edit(session, settings, campaign_id, version, user, changes, clock.now())
    return _show_change(session, settings, campaign, "edited", user)


def release(
    session: Session,
    settings: Settings,
    campaign_id: str,
    user: str,
    *,
    again: bool,
    copy: int | None = None,
) -> int:
    """Retry held e-mails, or count them as sent.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    user : str
        Slack user id, or `roles.OPERATOR`.
    again : bool
        Send them once more. Otherwise they count as sent.
    copy : int, optional
        Number of one e-mail. Without it, all held ones.

    Returns
    -------
    int
        Number of released e-mails.

    Raises
    ------
    Conflict
        None is held, or the campaign is over and cannot send again.
    """
    roles.require(session, settings, user, "approver", gettext("release held copies"))
    campaign = find_campaign(session, settings, campaign_id, lock=True)
    if again and campaign.state != "live":
        raise Conflict(
            gettext(
                "Campaign {name!r} is {state}, so nothing of it is sent any more; let what is "
                "held count as sent: campaign release {id} sent."
            ).format(name=campaign.name, state=campaign.state, id=campaign.id)
        )
    released = sends.release_held(session, campaign_id, again, copy)
    if not released:
        raise Conflict(
            (
                gettext(
                    "No copy of campaign {name!r} is held; `campaign held {id}` lists those that "
                    "are."
                )
                if copy is None
                else gettext(
                    "Copy {copy} of campaign {name!r} is not held; `campaign held {id}` lists "
                    "those that are."
                )
            ).format(copy=copy, name=campaign.name, id=campaign.id)
        )
    now = clock.now()
    details = {
        "copies": released,
        "as": "queued" if again else "sent",
        "copy": copy,
        "version": campaign.version,
    }
    record(session, settings, user, "campaign.release", campaign.id, now, details)
    post = thread_post(settings, campaign, "released", user, copies=released, again=again)
    # A version may be released more than once.
    unique = replace(post, key=f"{post.key}:{now.isoformat()}")
    for post in (unique, delivery_post(session, settings, campaign)):
        outbox.put(session, settings, post, default_channel=campaign.channel)
    return released


def delivery_post(
    session: Session, settings: Settings, campaign: Campaign, stopped: str = ""
) -> Post:
    """Return the thread message that counts the sent e-mails.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    stopped : str, optional
        The reason if sending has stopped, else empty.

    Returns
    -------
    Post
        A post for the thread.
    """
    counts = send_summary.counts(session, campaign.id)
    return thread_post(settings, campaign, "delivered", CLOCK, counts=counts, stopped=stopped)


def refresh_counts(session: Session, settings: Settings, campaign: Campaign) -> None:
    """Update the count of e-mails in the thread.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    """
    if send_summary.counts(session, campaign.id):
        post = delivery_post(session, settings, campaign)
        outbox.put(session, settings, post, default_channel=campaign.channel)


def expire(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Expire undecided and unsent campaigns.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Ids of the expired campaigns.
    """
    expired = []
    for campaign_id in due.expired_campaigns(session, settings, now):
        with _isolated(session, settings, campaign_id):
            decided = find_campaign(session, settings, campaign_id).state != "submitted"
            try:
                campaign = approval.expire(session, settings, campaign_id, now)
            except StaleCampaign:  # decided just now
                continue
            _show_change(session, settings, campaign, "lapsed" if decided else "expired", CLOCK)
            expired.append(campaign_id)
    for campaign_id in due.failed_sendings(session, settings, now):
        with _isolated(session, settings, campaign_id):
            why = gettext("It could not be sent before its approval expired; draft it anew.")
            try:
                campaign = approval.stop(
                    session, settings, campaign_id, CLOCK, why, now, ("sending",)
                )
            except StaleCampaign:  # sent or stopped just now
                continue
            _show_change(session, settings, campaign, "cancelled", CLOCK)
            expired.append(campaign_id)
    return expired


def schedule(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Schedule campaigns after their clearance time.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Ids of the scheduled campaigns.
    """
    scheduled = []
    for campaign_id in due.cleared_campaigns(session, settings, now):
        with _isolated(session, settings, campaign_id):
            try:
                approval.schedule(session, settings, campaign_id, now)
            except StaleCampaign:  # stopped just now
                continue
            refresh_card(session, settings, campaign_id)
            scheduled.append(campaign_id)
    return scheduled


def remind(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Remind approvers directly and in the thread.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Ids of the campaigns.
    """
    reminded = []
    for campaign_id in due.campaigns_to_remind(session, settings, now):
        with _isolated(session, settings, campaign_id):
            try:
                campaign = approval.remind(session, settings, campaign_id, now)
            except StaleCampaign:  # decided just now
                continue
            users = approvers(session, settings, campaign)
            post = thread_post(settings, campaign, "reminder", CLOCK, approvers=users)
            outbox.put(session, settings, post, default_channel=campaign.channel)
            for user in users:
                reminder = _reminder(campaign, campaign.version, user)
                outbox.put(session, settings, reminder, default_channel=user)
            reminded.append(campaign_id)
    return reminded


def _isolated(
    session: Session, settings: Settings, campaign_id: str
) -> AbstractContextManager[None]:
    """Run a step of one campaign in a savepoint."""
    campaign = find_campaign(session, settings, campaign_id)
    what = f"campaign:{campaign_id}"
    return isolated(session, settings, what, channel=campaign.channel, thread_key=campaign.post_key)


def approvers(session: Session, settings: Settings, campaign: Campaign) -> list[str]:
    """Return the remaining possible approvers by name.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.

    Returns
    -------
    list of str
        Slack user ids.
    """
    editors = set(
        session.scalars(
            select(CampaignEditor.user_id).where(CampaignEditor.campaign_id == campaign.id)
        )
    )
    holders = roles.holders(session, settings, "approver")
    return [user for user in holders if user not in editors and user not in campaign.approved_by]


def report_misuse(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Report misused codes in the thread, once a day.

    A code is misused if it is used twice, by another customer or outside its validity.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Ids of the campaigns.
    """
    reported = []
    for campaign_id, counts in redemptions.take_unannounced_misuses(session, settings).items():
        with _isolated(session, settings, campaign_id):
            campaign = find_campaign(session, settings, campaign_id)
            post = thread_post(settings, campaign, "misuse", "clock", counts=counts)
            day = f"{post.key}:{now.astimezone(settings.zone):%Y-%m-%d}"
            post = Post(post.template, post.values, day, post.channel, post.thread_key)
            outbox.put(session, settings, post, default_channel=campaign.channel)
            reported.append(campaign_id)
    return reported


def report_late(session: Session, settings: Settings) -> None:
    """Report orders that arrived after a campaign's result.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    """
    for campaign_id in late_orders.take_unannounced_results(session, settings):
        with _isolated(session, settings, campaign_id):
            campaign = find_campaign(session, settings, campaign_id)
            post = thread_post(settings, campaign, "later", CLOCK)
            outbox.put(session, settings, post, default_channel=campaign.channel)


def due_requests(
    session: Session, settings: Settings, now: datetime
) -> list[tuple[Request, str, str, str | None, str]]:
    """Return the campaign jobs that are due.

    They run for the last approver. If an approver has lost that role, the operator measures
    instead, and an unsent campaign is stopped.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of tuple[Request, str, str, str or None, str]
        Request, idempotency key, user, channel and thread key of each job.
    """
    requests: list[tuple[Request, str, str, str | None, str]] = []
    for job in due.due_jobs(session, settings, now):
        with _isolated(session, settings, job.args["campaign_id"]):
            requester = job.requested_by
            without_role = [
                user
                for user in (*job.answerable, requester)
                if not roles.allows(roles.role_of(session, settings, user), "approver")
            ]
            if without_role and job.kind == "campaign_send":
                _withdraw(session, settings, job.args["campaign_id"], without_role[0], now)
                continue
            requester = roles.OPERATOR if requester in without_role else requester
            request = REQUESTS[job.kind].model_validate(job.args)
            requests.append((request, job.idem_key, requester, job.channel, job.thread_key))
    return requests


def card_post(settings: Settings, campaign: Campaign) -> Post:
    """Return the campaign's main message with its buttons.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.

    Returns
    -------
    Post
        A post under the campaign's key.
    """
    return Post(
        "campaign/card",
        {"campaign": campaign_data(campaign), "demo": settings.demo},
        key=campaign.post_key,
    )


def thread_post(
    settings: Settings, campaign: Campaign, event: str, actor: str, **values: Any
) -> Post:
    """Return a message for the campaign's thread.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    event : str
        Kind of the message, a part of its key: there is one per version.
    actor : str
        User id, or `CLOCK`.
    **values : Any
        More values for the template.

    Returns
    -------
    Post
        A post under its own key.
    """
    return Post(
        "campaign/line",
        {
            "what": event,
            "who": actor,
            "campaign": campaign_data(campaign),
            "at": clock.now(),
            **values,
        },
        key=f"campaign:{campaign.id}:{event}:{campaign.version}",
        channel=campaign.channel,
        thread_key=campaign.post_key,
    )


def clearance_post(
    settings: Settings, campaign: Campaign, version: int | None = None, treated: int | None = None
) -> Post:
    """Return the thread message about the clearance time.

    It shows the audience and a Stop button during the clearance time, then the outcome.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    version : int, optional
        By default the campaign's.
    treated : int, optional
        Size of the treatment group.

    Returns
    -------
    Post
        A post under its own key.
    """
    version = version or campaign.version
    values = {
        "campaign": campaign_data(campaign),
        "version": version,
        "treated": treated,
        "open": campaign.state in IN_CLEARANCE and campaign.version == version,
    }
    key = f"campaign:{campaign.id}:clearance:{version}"
    return Post("campaign/clearance", values, key, campaign.channel, campaign.post_key)


def refresh_card(session: Session, settings: Settings, campaign_id: str) -> Campaign:
    """Update the campaign's main message.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.

    Returns
    -------
    Campaign
        The campaign.
    """
    campaign = find_campaign(session, settings, campaign_id)
    outbox.put(session, settings, card_post(settings, campaign), default_channel=campaign.channel)
    return campaign


def _reminder(campaign: Campaign, version: int, user: str) -> Post:
    """Return the reminder for one approver.

    It has buttons as long as a decision is possible.
    """
    values = {"campaign": campaign_data(campaign), "version": version, "user": user}
    return Post(
        "campaign/reminder",
        values,
        f"campaign:{campaign.id}:reminder:{version}:{user}",
        channel=user,
    )


def _show_change(
    session: Session, settings: Settings, campaign: Campaign, event: str, actor: str, **values: Any
) -> Campaign:
    for post in (
        card_post(settings, campaign),
        thread_post(settings, campaign, event, actor, **values),
    ):
        outbox.put(session, settings, post, default_channel=campaign.channel)
    _disarm(session, settings, campaign)
    return campaign


def _disarm(session: Session, settings: Settings, campaign: Campaign) -> None:
    """Remove buttons that no longer decide anything."""
    prefix = f"campaign:{campaign.id}:"
    keys = session.scalars(select(Outbox.key).where(Outbox.key.startswith(prefix))).all()
    for key in keys:
        match key.removeprefix(prefix).split(":"):
            # Older versions have no buttons left.
            case ["reminder", version, user] if int(version) >= campaign.version - 1:
                post = _reminder(campaign, int(version), user)
            case ["clearance", version] if campaign.state not in IN_CLEARANCE:
                post = clearance_post(settings, campaign, int(version))
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
        gettext("{approver}, who approved it, may no longer approve campaigns.").format(
            approver=approver
        ),
        now,
    )
    _show_change(session, settings, campaign, "cancelled", CLOCK)


def find_cohort(session: Session, settings: Settings, cohort_id: str) -> Cohort:
    """Return a cohort of a sweep.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    cohort_id : str
        Id of the cohort.

    Returns
    -------
    Cohort
        The cohort.

    Raises
    ------
    BadInput
        There is no such cohort, or it was deleted.
    """
    cohort = session.get(Cohort, cohort_id)
    if cohort is None or cohort.team_id != settings.team_id:
        raise BadInput(
            gettext(
                "There is no cohort {cohort_id!r} (any more); run `/retention sweep` for a "
                "fresh one."
            ).format(cohort_id=cohort_id)
        )
    return cohort
