"""Keep single customers out of campaigns for some time, because a person said so."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from retention.db import Transaction
from retention.db.audit import record
from retention.db.insert import upsert
from retention.db.tables import Note, Pause
from retention.errors import BadInput
from retention.privacy import pseudonym
from retention.text import gettext

DAYS = 30


def pause(
    session: Transaction, customer_id: str, by: str, now: datetime, days: int = DAYS
) -> datetime:
    """Exclude a customer from new drafts, and return the end of the exclusion.

    The audit log names the customer by pseudonym.
    """
    until = now + timedelta(days=days)
    key = {"team_id": session.settings.team_id, "customer_id": customer_id}
    upsert(session, Pause, key, until=until, by=by, at=now)
    subject = pseudonym(session.settings.key, customer_id)
    details = {"until": until.isoformat(), "days": days}
    record(session, by, "customer.exclude", subject, now, details)
    return until


def resume(session: Transaction, customer_id: str, by: str, now: datetime) -> None:
    """End a customer's exclusion."""
    own = Pause.team_id == session.settings.team_id, Pause.customer_id == customer_id
    session.change(delete(Pause).where(*own))
    subject = pseudonym(session.settings.key, customer_id)
    record(session, by, "customer.include", subject, now, {})


def paused_customers(session: Transaction, now: datetime) -> set[str]:
    """Return the customers who are excluded at a time."""
    paused = session.own(Pause).where(Pause.until > now)
    return set(session.scalars(paused.with_only_columns(Pause.customer_id)))


def pause_of(session: Transaction, customer_ids: Sequence[str], now: datetime) -> Pause | None:
    """Return the exclusion of a customer, if it has not ended."""
    own = session.own(Pause).where(Pause.until > now, Pause.customer_id.in_(customer_ids))
    longest = own.order_by(Pause.until.desc())
    return session.scalar(longest.limit(1))


MAX_CHARACTERS = 500


def add_note(session: Transaction, customer_id: str, text: str, by: str, now: datetime) -> None:
    """Store a note; the audit log holds its length only.

    `text`: at most `MAX_CHARACTERS`.
    Raises `BadInput`: the text is empty or too long.
    """
    text = " ".join(text.split())
    if not text:
        raise BadInput(gettext("The note is empty; write a few words."), field="note")
    if len(text) > MAX_CHARACTERS:
        message = gettext("The note has {count} characters; keep it to {longest}.")
        raise BadInput(message.format(count=len(text), longest=MAX_CHARACTERS), field="note")
    session.add(
        Note(team_id=session.settings.team_id, customer_id=customer_id, text=text, by=by, at=now)
    )
    subject = pseudonym(session.settings.key, customer_id)
    record(session, by, "customer.note", subject, now, {"characters": len(text)})


def notes_on(session: Transaction, customer_ids: Sequence[str], latest: int = 2) -> list[Note]:
    """Return the newest notes on a customer."""
    own = Note.team_id == session.settings.team_id, Note.customer_id.in_(list(customer_ids))
    newest = select(Note).where(*own).order_by(Note.at.desc(), Note.id.desc()).limit(latest)
    return list(session.scalars(newest))
