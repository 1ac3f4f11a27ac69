"""Summarise the sends of campaigns: states, reasons and contacted customers."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retention.db.tables import Send
from retention.outreach.sends import CONTACT_STATES, MANUAL_CHANNELS, cancel_reason
from retention.text import gettext


def cancelled_customers(session: Session, campaign_id: str) -> set[str]:
    """Return customers with a cancelled send.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    set of str
    """
    rows = select(Send.customer_id).where(
        Send.campaign_id == campaign_id, Send.state == "cancelled"
    )
    return set(session.scalars(rows))


def uncontacted_customers(session: Session, campaign_id: str) -> set[str]:
    """Return customers whose send did not and will not arrive.

    They cost no contact.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    set of str
    """
    rows = select(Send.customer_id).where(
        Send.campaign_id == campaign_id, Send.state.not_in(CONTACT_STATES)
    )
    return set(session.scalars(rows))


def uncontacted_reasons(session: Session, campaign_id: str) -> dict[str, int]:
    """Count treated customers without an e-mail by reason.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    dict of str to int
    """
    by_state = {
        "bounced": gettext("it bounced"),
        "failed": gettext("it could not be sent"),
    }
    uncontacted = (
        select(Send.state, Send.error_code, Send.error, func.count())
        .where(Send.campaign_id == campaign_id, Send.state.not_in(CONTACT_STATES))
        .group_by(Send.state, Send.error_code, Send.error)
    )
    by_reason: dict[str, int] = {}
    for state, code, error, number in session.execute(uncontacted):
        reason = by_state.get(state) or cancel_reason(code) or error or gettext("stopped")
        by_reason[reason] = by_reason.get(reason, 0) + number
    return by_reason


def waiting_in_files(session: Session, campaign_id: str) -> dict[str, int]:
    """Count customers in files that are not downloaded yet.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    dict of str to int
        Customers by channel, ``csv`` and ``call``.
    """
    waiting = (
        Send.campaign_id == campaign_id,
        Send.state == "queued",
        Send.channel.in_(MANUAL_CHANNELS),
    )
    channel_counts = select(Send.channel, func.count()).where(*waiting).group_by(Send.channel)
    return {
        **dict.fromkeys(MANUAL_CHANNELS, 0),
        **dict(session.execute(channel_counts).tuples().all()),
    }


def counts(session: Session, campaign_id: str) -> dict[str, int]:
    """Count sends by state, without files.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    dict of str to int
    """
    in_campaign = Send.campaign_id == campaign_id, Send.channel.not_in(MANUAL_CHANNELS)
    state_counts = select(Send.state, func.count()).where(*in_campaign).group_by(Send.state)
    return dict(session.execute(state_counts).tuples().all())


def counts_by_channel(session: Session, campaign_id: str) -> dict[str, dict[str, int]]:
    """Count all sends, also those in files, by channel and state."""
    counted = (
        select(Send.channel, Send.state, func.count())
        .where(Send.campaign_id == campaign_id)
        .group_by(Send.channel, Send.state)
        .order_by(Send.channel, Send.state)
    )
    by_channel: dict[str, dict[str, int]] = {}
    for channel, state, number in session.execute(counted):
        by_channel.setdefault(channel, {})[state] = number
    return by_channel


def has_accepted_send(session: Session, campaign_id: str) -> bool:
    """Whether any e-mail of the campaign was accepted.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    bool
    """
    is_accepted = (
        Send.campaign_id == campaign_id,
        Send.channel.not_in(MANUAL_CHANNELS),
        Send.state == "sent",
    )
    return session.scalar(select(Send.id).where(*is_accepted).limit(1)) is not None


def held_sends(session: Session, campaign_id: str) -> list[Send]:
    """Return sends with uncertain delivery, oldest first.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    list of Send
    """
    waiting = select(Send).where(Send.campaign_id == campaign_id, Send.state == "held")
    return list(session.scalars(waiting.order_by(Send.id)))


def customers_with_sends(session: Session, team_id: str, since: datetime) -> set[str]:
    """Return customers contacted since a moment.

    Sent, possibly sent and queued e-mails count.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    team_id : str
        Slack team.
    since : datetime
        Start of the period.

    Returns
    -------
    set of str
    """
    at = func.coalesce(Send.sent_at, Send.queued_at)
    contacted = select(Send.customer_id).where(
        Send.team_id == team_id, Send.state.in_(CONTACT_STATES), at >= since
    )
    return set(session.scalars(contacted))
