"""Take the steps of campaigns that are due: expire, remind, schedule, send and measure.

Every function runs in the caller's session. The change, its audit row and the messages are one
transaction. The scheduler calls them (`workers.schedule`).
"""

from contextlib import AbstractContextManager
from datetime import datetime

from sqlalchemy.orm import Session

from retention.campaigns import approval, due, late_orders, redemptions
from retention.campaigns.states import CLOCK, StaleCampaign, find_campaign
from retention.settings import Settings
from retention.text import gettext
from workers import roles
from workers.campaign_messages import decision_post, refresh_card, show_change, thread_post
from workers.campaigns import approvers_of
from workers.completion import isolated
from workers.delivery import outbox
from workers.requests import REQUESTS, Request
from workers.tasks.interface import Post


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
            show_change(session, settings, campaign, "lapsed" if decided else "expired", CLOCK)
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
            show_change(session, settings, campaign, "cancelled", CLOCK)
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
            users = approvers_of(session, settings, campaign)
            post = thread_post(settings, campaign, "reminder", CLOCK, approvers=users)
            outbox.put(session, settings, post, default_channel=campaign.channel)
            for user in users:
                reminder = decision_post(
                    settings, campaign, campaign.version, user, "reminder", session
                )
                outbox.put(session, settings, reminder, default_channel=user)
            reminded.append(campaign_id)
    return reminded


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
    for campaign_id, counts in redemptions.unannounced_misuses(session, settings).items():
        with _isolated(session, settings, campaign_id):
            redemptions.mark_misuses_announced(session, campaign_id)
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
    for campaign_id in late_orders.unannounced_results(session, settings):
        with _isolated(session, settings, campaign_id):
            campaign = late_orders.mark_result_announced(session, settings, campaign_id)
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
    show_change(session, settings, campaign, "cancelled", CLOCK)


def _isolated(
    session: Session, settings: Settings, campaign_id: str
) -> AbstractContextManager[None]:
    """Run a step of one campaign in a savepoint."""
    campaign = find_campaign(session, settings, campaign_id)
    what = f"campaign:{campaign_id}"
    return isolated(session, settings, what, channel=campaign.channel, thread_key=campaign.post_key)
