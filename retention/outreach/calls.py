"""Keep call lists: who calls which customer until when, and what came of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import CallEntry, Campaign, Send
from retention.errors import BadInput
from retention.privacy import pseudonym
from retention.settings import Settings
from retention.text import gettext

OUTCOMES = ("interested", "declined", "no_answer", "wrong_number")
REACHED = ("interested", "declined")
MAX_CHARACTERS = 500
DUE_DAYS = 3  # after the entry is made, unless a person chooses another day


def outcome_text(outcome: str | None) -> str:
    """Return the words of an outcome code; None is a call that was not made."""
    return {
        None: gettext("to do"),
        "interested": gettext("reached, will order"),
        "declined": gettext("reached, not interested"),
        "no_answer": gettext("no answer"),
        "wrong_number": gettext("wrong number"),
    }[outcome]


def add_entries(
    session: Session,
    settings: Settings,
    campaign_id: str,
    customer_ids: Iterable[str],
    by: str,
    now: datetime,
    due_on: date,
    owner: str | None = None,
) -> None:
    """Put a campaign's customers on its call list; those on it stay as they are.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        The campaign.
    customer_ids : iterable of str
        Customers to call.
    by : str
        Slack user id.
    now : datetime
        Business time.
    due_on : date
        Day by which they should be called.
    owner : str, optional
        Slack user id of the person who calls.
    """
    for customer_id in customer_ids:
        insert_once(
            session,
            CallEntry,
            team_id=settings.team_id,
            campaign_id=campaign_id,
            customer_id=customer_id,
            owner=owner,
            due_on=due_on,
            note="",
            added_by=by,
            added_at=now,
        )


def save_entry(
    session: Session,
    settings: Settings,
    campaign_id: str,
    customer_id: str,
    by: str,
    now: datetime,
    *,
    owner: str | None,
    due_on: date | None,
    outcome: str | None,
    note: str = "",
) -> CallEntry:
    """Create or change an entry of a call list.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        The campaign, or empty.
    customer_id : str
        The customer.
    by : str
        Slack user id.
    now : datetime
        Business time.
    owner : str or None
        Slack user id of the person who calls.
    due_on : date or None
        Day by which the customer should be called.
    outcome : str or None
        One of `OUTCOMES`; None if the call was not made.
    note : str
        At most `MAX_CHARACTERS`.

    Raises
    ------
    BadInput
        The outcome is unknown, or the note is too long.
    """
    if outcome is not None and outcome not in OUTCOMES:
        raise BadInput(
            gettext("The outcome is {outcome!r}; choose one of {outcomes}.").format(
                outcome=outcome, outcomes=", ".join(OUTCOMES)
            ),
            field="outcome",
        )
    note = " ".join(note.split())
    if len(note) > MAX_CHARACTERS:
        raise BadInput(
            gettext("The note has {count} characters; keep it to {longest}.").format(
                count=len(note), longest=MAX_CHARACTERS
            ),
            field="note",
        )
    add_entries(session, settings, campaign_id, [customer_id], by, now, due_on or now.date())
    key = settings.team_id, campaign_id, customer_id
    entry = session.get_one(CallEntry, key, populate_existing=True)
    entry.owner, entry.due_on, entry.outcome, entry.note = owner, due_on, outcome, note
    entry.changed_by, entry.changed_at = by, now
    details = {
        "campaign": campaign_id,
        "owner": owner,
        "due_on": due_on and due_on.isoformat(),
        "outcome": outcome,
    }
    subject = pseudonym(settings.key, customer_id)
    record(session, settings, by, "customer.call", subject, now, details)
    session.flush()
    return entry


def find_entry(
    session: Session, settings: Settings, campaign_id: str, customer_id: str
) -> CallEntry | None:
    """Return an entry of a call list.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        The campaign, or empty.
    customer_id : str
        The customer.
    """
    return session.get(CallEntry, (settings.team_id, campaign_id, customer_id))


def entries(session: Session, settings: Settings, campaign_id: str) -> list[CallEntry]:
    """Return a campaign's call list: open calls first, then by due date.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        The campaign, or empty.
    """
    own = CallEntry.team_id == settings.team_id, CallEntry.campaign_id == campaign_id
    order = CallEntry.outcome.is_not(None), CallEntry.due_on, CallEntry.customer_id
    return list(session.scalars(select(CallEntry).where(*own).order_by(*order)))


def open_entries(session: Session, settings: Settings, owner: str) -> list[CallEntry]:
    """Return the calls that a person has to make, the first due first.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    owner : str
        Slack user id.
    """
    own = (
        CallEntry.team_id == settings.team_id,
        CallEntry.owner == owner,
        CallEntry.outcome.is_(None),
    )
    order = CallEntry.due_on, CallEntry.customer_id
    return list(session.scalars(select(CallEntry).where(*own).order_by(*order)))


def count_due(session: Session, settings: Settings, now: datetime, *, is_owned: bool = True) -> int:
    """Count the calls that are due and were not made, those with or without an owner.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.
    is_owned : bool, optional
        Count those with an owner.
    """
    due = (
        CallEntry.team_id == settings.team_id,
        CallEntry.owner.is_not(None) if is_owned else CallEntry.owner.is_(None),
        CallEntry.outcome.is_(None),
        CallEntry.due_on <= now.astimezone(settings.zone).date(),
    )
    return session.scalar(select(func.count()).select_from(CallEntry).where(*due)) or 0


def unowned_by_campaign(session: Session, settings: Settings) -> list[tuple[str, str, int]]:
    """Count the open calls without an owner in live campaigns.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.

    Returns
    -------
    list of tuple
        Id and name of each campaign with such calls, and their number.
    """
    has_list = select(CallEntry.campaign_id).where(CallEntry.team_id == settings.team_id).distinct()
    live = Campaign.team_id == settings.team_id, Campaign.state == "live"
    listed = (
        select(Campaign.id, Campaign.name, func.count())
        .join(CallEntry, CallEntry.campaign_id == Campaign.id)
        .where(*live, CallEntry.owner.is_(None), CallEntry.outcome.is_(None))
        .group_by(Campaign.id, Campaign.name)
    )
    # Nobody has opened the list yet, so it has no entries.
    unopened = (
        select(Campaign.id, Campaign.name, func.count())
        .join(Send, Send.campaign_id == Campaign.id)
        .where(*live, Send.channel == "call", Send.state == "queued", Campaign.id.not_in(has_list))
        .group_by(Campaign.id, Campaign.name)
    )
    return sorted(row for query in (listed, unopened) for row in session.execute(query).tuples())


def latest_entry(
    session: Session, settings: Settings, customer_ids: Sequence[str]
) -> CallEntry | None:
    """Return the newest entry of a customer on any list.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    customer_ids : sequence of str
        The customer's ids, merged ones included.
    """
    own = CallEntry.team_id == settings.team_id, CallEntry.customer_id.in_(list(customer_ids))
    return session.scalars(
        select(CallEntry).where(*own).order_by(CallEntry.added_at.desc()).limit(1)
    ).first()


def count_outcomes(session: Session, settings: Settings, campaign_id: str) -> dict[str, Any]:
    """Count the calls of a campaign by outcome.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        The campaign.

    Returns
    -------
    dict
        ``calls`` (on the list), ``made``, ``reached`` and each of `OUTCOMES`.
    """
    own = CallEntry.team_id == settings.team_id, CallEntry.campaign_id == campaign_id
    rows = session.execute(
        select(CallEntry.outcome, func.count()).where(*own).group_by(CallEntry.outcome)
    )
    counted = Counter(dict(rows.tuples().all()))
    return {
        "calls": counted.total(),
        "made": sum(counted[outcome] for outcome in OUTCOMES),
        "reached": sum(counted[outcome] for outcome in REACHED),
        **{outcome: counted[outcome] for outcome in OUTCOMES},
    }
