"""Keep call lists: who calls which customer until when, and what came of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select

from retention.db import Transaction
from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import CallEntry, Campaign, Send
from retention.errors import BadInput
from retention.privacy import pseudonym
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


@dataclass(frozen=True, slots=True)
class Plan:
    """Who calls a customer, until which day, and what came of it.

    `outcome`: one of `OUTCOMES`; None if the call was not made.
    `note`: at most `MAX_CHARACTERS`.
    """

    owner: str | None
    due_on: date | None
    outcome: str | None
    note: str = ""


def add_entries(
    session: Transaction,
    campaign_id: str,
    customer_ids: Iterable[str],
    by: str,
    now: datetime,
    due_on: date,
    owner: str | None = None,
) -> None:
    """Put a campaign's customers on its call list; those on it stay as they are.

    `due_on`: day by which they should be called.
    """
    for customer_id in customer_ids:
        insert_once(
            session,
            CallEntry,
            team_id=session.settings.team_id,
            campaign_id=campaign_id,
            customer_id=customer_id,
            owner=owner,
            due_on=due_on,
            note="",
            added_by=by,
            added_at=now,
        )


def save_entry(
    session: Transaction, campaign_id: str, customer_id: str, by: str, now: datetime, plan: Plan
) -> CallEntry:
    """Create or change an entry of a call list.

    Raises `BadInput`: the outcome is unknown, or the note is too long.
    """
    outcome, due_on = plan.outcome, plan.due_on
    if outcome is not None and outcome not in OUTCOMES:
        message = gettext("The outcome is {outcome!r}; choose one of {outcomes}.")
        raise BadInput(
            message.format(outcome=outcome, outcomes=", ".join(OUTCOMES)), field="outcome"
        )
    note = " ".join(plan.note.split())
    if len(note) > MAX_CHARACTERS:
        text = gettext("The note has {count} characters; keep it to {longest}.")
        raise BadInput(text.format(count=len(note), longest=MAX_CHARACTERS), field="note")
    add_entries(session, campaign_id, [customer_id], by, now, due_on or now.date())
    key = session.settings.team_id, campaign_id, customer_id
    entry = session.get_one(CallEntry, key, populate_existing=True)
    entry.owner, entry.due_on, entry.outcome, entry.note = plan.owner, due_on, outcome, note
    entry.changed_by, entry.changed_at = by, now
    day = due_on and due_on.isoformat()
    details = {"campaign": campaign_id, "owner": plan.owner, "due_on": day, "outcome": outcome}
    subject = pseudonym(session.settings.key, customer_id)
    record(session, by, "customer.call", subject, now, details)
    session.flush()
    return entry


def find_entry(session: Transaction, campaign_id: str, customer_id: str) -> CallEntry | None:
    """Return an entry of a call list."""
    return session.get(CallEntry, (session.settings.team_id, campaign_id, customer_id))


def entries(session: Transaction, campaign_id: str) -> list[CallEntry]:
    """Return a campaign's call list: open calls first, then by due date."""
    own = session.own(CallEntry, campaign_id=campaign_id)
    order = CallEntry.outcome.is_not(None), CallEntry.due_on, CallEntry.customer_id
    return list(session.scalars(own.order_by(*order)))


def open_entries(session: Transaction, owner: str) -> list[CallEntry]:
    """Return the calls that a person has to make, the first due first."""
    to_do = session.own(CallEntry, owner=owner, outcome=None)
    return list(session.scalars(to_do.order_by(CallEntry.due_on, CallEntry.customer_id)))


def count_due(session: Transaction, now: datetime, *, is_owned: bool = True) -> int:
    """Count the calls that are due and were not made, those with or without an owner."""
    today = now.astimezone(session.settings.zone).date()
    due = session.own(CallEntry, outcome=None).where(
        CallEntry.owner.is_not(None) if is_owned else CallEntry.owner.is_(None),
        CallEntry.due_on <= today,
    )
    return session.scalar(due.with_only_columns(func.count())) or 0


def unowned_by_campaign(session: Transaction) -> list[tuple[str, str, int]]:
    """Count the open calls without an owner in live campaigns."""
    team_id, names = session.settings.team_id, (Campaign.id, Campaign.name)
    has_list = select(CallEntry.campaign_id).where(CallEntry.team_id == team_id).distinct()
    live = select(*names, func.count()).filter_by(team_id=team_id, state="live").group_by(*names)
    listed = live.join(CallEntry, CallEntry.campaign_id == Campaign.id)
    listed = listed.where(CallEntry.owner.is_(None), CallEntry.outcome.is_(None))
    # Nobody has opened the list yet, so it has no entries.
    unopened = live.join(Send, Send.campaign_id == Campaign.id)
    unopened = unopened.where(Send.channel == "call", Send.state == "queued")
    unopened = unopened.where(Campaign.id.not_in(has_list))
    return sorted(row for query in (listed, unopened) for row in session.execute(query).tuples())


def latest_entry(session: Transaction, customer_ids: Sequence[str]) -> CallEntry | None:
    """Return the newest entry of a customer on any list."""
    own = session.own(CallEntry).where(CallEntry.customer_id.in_(customer_ids))
    return session.scalar(own.order_by(CallEntry.added_at.desc()).limit(1))


def count_outcomes(session: Transaction, campaign_id: str) -> dict[str, Any]:
    """Count the calls of a campaign by outcome.

    Returns: ``calls`` (on the list), ``made``, ``reached`` and each of `OUTCOMES`.
    """
    own = session.own(CallEntry, campaign_id=campaign_id).group_by(CallEntry.outcome)
    rows = session.execute(own.with_only_columns(CallEntry.outcome, func.count()))
    counted = Counter(dict(rows.tuples().all()))
    return {
        "calls": counted.total(),
        "made": sum(counted[outcome] for outcome in OUTCOMES),
        "reached": sum(counted[outcome] for outcome in REACHED),
        **{outcome: counted[outcome] for outcome in OUTCOMES},
    }
