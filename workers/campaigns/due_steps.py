"""Take the steps of campaigns that are due: expire, remind, schedule, send and measure.

Every function runs in the caller's session. The change, its audit row and the messages are one
transaction. The scheduler calls them (`workers.schedule.tick`).
"""

from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime

from retention.campaigns.codes import redemptions
from retention.campaigns.lifecycle import decisions, due, states
from retention.campaigns.lifecycle.states import StaleCampaign, Step, find_campaign
from retention.campaigns.measurement import late_orders
from retention.db import Transaction
from retention.text import gettext
from workers import user_roles
from workers.campaigns.decisions import approvers_of
from workers.campaigns.messages import decision_post, put, refresh_card, show_change, thread_post
from workers.job_requests import REQUESTS, Request
from workers.queue.completion import isolated


def expire(session: Transaction, now: datetime) -> list[str]:
    """Expire undecided and unsent campaigns."""
    expired = []
    for campaign_id in due.expired_campaigns(session, now):
        with _isolated(session, campaign_id), suppress(StaleCampaign):  # decided just now
            decided = find_campaign(session, campaign_id).state != "submitted"
            campaign = decisions.expire(session, campaign_id, now)
            show_change(session, campaign, "lapsed" if decided else "expired", states.CLOCK)
            expired.append(campaign_id)
    for campaign_id in due.failed_sendings(session, now):
        with _isolated(session, campaign_id), suppress(StaleCampaign):  # sent or stopped just now
            why = gettext("It could not be sent before its approval expired; draft it anew.")
            _stop(session, campaign_id, why, now, ("sending",))
            expired.append(campaign_id)
    return expired


def schedule(session: Transaction, now: datetime) -> list[str]:
    """Schedule campaigns after their clearance time."""
    scheduled = []
    for campaign_id in due.cleared_campaigns(session, now):
        with _isolated(session, campaign_id), suppress(StaleCampaign):  # stopped just now
            decisions.schedule(session, campaign_id, now)
            refresh_card(session, campaign_id)
            scheduled.append(campaign_id)
    return scheduled


def remind(session: Transaction, now: datetime) -> list[str]:
    """Remind approvers directly and in the thread."""
    reminded = []
    for campaign_id in due.campaigns_to_remind(session, now):
        with _isolated(session, campaign_id), suppress(StaleCampaign):  # decided just now
            campaign = decisions.remind(session, campaign_id, now)
            users = approvers_of(session, campaign)
            post = thread_post(
                session.settings, campaign, "reminder", states.CLOCK, approvers=users
            )
            direct = [decision_post(session, campaign, user, "reminder") for user in users]
            put(session, campaign, post, *direct)
            reminded.append(campaign_id)
    return reminded


def report_misuse(session: Transaction, now: datetime) -> list[str]:
    """Report misused codes in the thread, once a day.

    A code is misused if it is used twice, by another customer or outside its validity.
    """
    reported = []
    for campaign_id, counts in redemptions.unannounced_misuses(session).items():
        with _isolated(session, campaign_id):
            redemptions.mark_misuses_announced(session, campaign_id)
            campaign = find_campaign(session, campaign_id)
            post = thread_post(session.settings, campaign, "misuse", "clock", counts=counts)
            day = f"{post.key}:{now.astimezone(session.settings.zone):%Y-%m-%d}"
            put(session, campaign, replace(post, key=day))
            reported.append(campaign_id)
    return reported


def report_late(session: Transaction) -> None:
    """Report orders that arrived after a campaign's result."""
    for campaign_id in late_orders.unannounced_results(session):
        with _isolated(session, campaign_id):
            campaign = late_orders.mark_result_announced(session, campaign_id)
            put(session, campaign, thread_post(session.settings, campaign, "later", states.CLOCK))


def due_requests(
    session: Transaction, now: datetime
) -> list[tuple[Request, str, str, str | None, str]]:
    """Return the campaign jobs that are due.

    They run for the last approver. If an approver has lost that role, the operator measures
    instead, and an unsent campaign is stopped.
    """
    requests: list[tuple[Request, str, str, str | None, str]] = []
    for job in due.due_jobs(session, now):
        with _isolated(session, job.args["campaign_id"]):
            requester = job.requested_by
            without_role = [
                user
                for user in (*job.answerable, requester)
                if not user_roles.allows(user_roles.role_of(session, user), "approver")
            ]
            if without_role and job.kind == "campaign_send":
                why = gettext("{approver}, who approved it, may no longer approve campaigns.")
                why = why.format(approver=without_role[0])
                _stop(session, job.args["campaign_id"], why, now)
                continue
            requester = user_roles.OPERATOR if requester in without_role else requester
            request = REQUESTS[job.kind].model_validate(job.args)
            requests.append((request, job.idem_key, requester, job.channel, job.thread_key))
    return requests


def _stop(
    session: Transaction,
    campaign_id: str,
    why: str,
    now: datetime,
    from_states: Collection[str] = states.STOPPABLE,
) -> None:
    step = Step(campaign_id, states.CLOCK, at=now)
    show_change(session, decisions.stop(session, step, why, from_states), "cancelled", states.CLOCK)


def _isolated(session: Transaction, campaign_id: str) -> AbstractContextManager[None]:
    """Run a step of one campaign in a savepoint."""
    campaign = find_campaign(session, campaign_id)
    what = f"campaign:{campaign_id}"
    return isolated(session, what, channel=campaign.channel, thread_key=campaign.post_key)
