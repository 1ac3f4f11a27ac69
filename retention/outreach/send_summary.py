"""Summarise the sends of campaigns: states, reasons and contacted customers."""

from collections import Counter
from datetime import datetime

from sqlalchemy import Select, exists, func, select

from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, Send
from retention.outreach.sends import CONTACT_STATES, MANUAL_CHANNELS, cancel_reason
from retention.text import gettext


def cancelled_customers(session: Transaction, campaign_id: str) -> set[str]:
    """Return customers with a cancelled send."""
    cancelled = select(Send.customer_id).filter_by(campaign_id=campaign_id, state="cancelled")
    return set(session.scalars(cancelled))


def uncontacted_customers(session: Transaction, campaign_id: str) -> set[str]:
    """Return customers whose send did not and will not arrive. They cost no contact."""
    rows = select(Send.customer_id).where(
        Send.campaign_id == campaign_id, Send.state.not_in(CONTACT_STATES)
    )
    return set(session.scalars(rows)) | set(session.scalars(_without_send(campaign_id)))


def _without_send(campaign_id: str) -> Select[str]:
    """Treated customers who waited for the winner of a test that was never decided."""
    in_test = Campaign.id == campaign_id, Campaign.body["test"]["share"].as_float() < 1
    has_send = exists().where(
        Send.campaign_id == Assignment.campaign_id, Send.customer_id == Assignment.customer_id
    )
    is_treated = Assignment.campaign_id == campaign_id, Assignment.arm == "treatment"
    return (
        select(Assignment.customer_id)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(*in_test, *is_treated, ~has_send)
    )


def uncontacted_reasons(session: Transaction, campaign_id: str) -> dict[str, int]:
    """Count treated customers without an e-mail by reason."""
    by_state = {"bounced": gettext("it bounced"), "failed": gettext("it could not be sent")}
    columns = Send.state, Send.error_code, Send.error
    own = select(*columns, func.count()).where(Send.campaign_id == campaign_id)
    uncontacted = own.where(Send.state.not_in(CONTACT_STATES)).group_by(*columns)
    by_reason = Counter[str]()
    for state, code, error, number in session.execute(uncontacted):
        by_reason[by_state.get(state) or cancel_reason(code) or error or gettext("stopped")] += (
            number
        )
    if waiting := len(session.scalars(_without_send(campaign_id)).all()):
        by_reason[gettext("the test was not decided")] += waiting
    return dict(by_reason)


def waiting_in_files(session: Transaction, campaign_id: str) -> dict[str, int]:
    """Count customers in files that are not downloaded yet.

    Returns: customers by channel, ``csv`` and ``call``.
    """
    queued = select(Send.channel, func.count()).filter_by(campaign_id=campaign_id, state="queued")
    by_channel = queued.where(Send.channel.in_(MANUAL_CHANNELS)).group_by(Send.channel)
    found = dict(session.execute(by_channel).tuples().all())
    return dict.fromkeys(MANUAL_CHANNELS, 0) | found


def counts(session: Transaction, campaign_id: str) -> dict[str, int]:
    """Count sends by state, without files."""
    in_campaign = Send.campaign_id == campaign_id, Send.channel.not_in(MANUAL_CHANNELS)
    state_counts = select(Send.state, func.count()).where(*in_campaign).group_by(Send.state)
    return dict(session.execute(state_counts).tuples().all())


def counts_by_channel(session: Transaction, campaign_id: str) -> dict[str, dict[str, int]]:
    """Count all sends, also those in files, by channel and state."""
    columns = Send.channel, Send.state
    own = select(*columns, func.count()).where(Send.campaign_id == campaign_id)
    counted = own.group_by(*columns).order_by(*columns)
    by_channel: dict[str, dict[str, int]] = {}
    for channel, state, number in session.execute(counted):
        by_channel.setdefault(channel, {})[state] = number
    return by_channel


def has_accepted_send(session: Transaction, campaign_id: str) -> bool:
    """Whether any e-mail of the campaign was accepted."""
    sent = select(Send.id).filter_by(campaign_id=campaign_id, state="sent")
    accepted = sent.where(Send.channel.not_in(MANUAL_CHANNELS)).limit(1)
    return session.scalar(accepted) is not None


def held_sends(session: Transaction, campaign_id: str) -> list[Send]:
    """Return sends with uncertain delivery, oldest first."""
    waiting = select(Send).where(Send.campaign_id == campaign_id, Send.state == "held")
    return list(session.scalars(waiting.order_by(Send.id)))


def customers_with_sends(session: Transaction, team_id: str, since: datetime) -> set[str]:
    """Return customers contacted since a moment. Sent, possibly sent and queued e-mails count."""
    at = func.coalesce(Send.sent_at, Send.queued_at)
    contacted = select(Send.customer_id).where(
        Send.team_id == team_id, Send.state.in_(CONTACT_STATES), at >= since
    )
    return set(session.scalars(contacted))
