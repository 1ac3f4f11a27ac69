"""Store people's notes on single customers."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.audit import record
from retention.db.tables import Note
from retention.errors import BadInput
from retention.privacy import pseudonym
from retention.settings import Settings
from retention.text import gettext

MAX_CHARACTERS = 500


def add_note(
    session: Session, settings: Settings, customer_id: str, text: str, by: str, now: datetime
) -> None:
    """Store a note; the audit log holds its length only.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    customer_id : str
        The customer.
    text : str
        At most `MAX_CHARACTERS`.
    by : str
        Slack user id.
    now : datetime
        Business time.

    Raises
    ------
    BadInput
        The text is empty or too long.
    """
    text = " ".join(text.split())
    if not text:
        raise BadInput(gettext("The note is empty; write a few words."), field="note")
    if len(text) > MAX_CHARACTERS:
        raise BadInput(
            gettext("The note has {count} characters; keep it to {longest}.").format(
                count=len(text), longest=MAX_CHARACTERS
            ),
            field="note",
        )
    session.add(Note(team_id=settings.team_id, customer_id=customer_id, text=text, by=by, at=now))
    subject = pseudonym(settings.key, customer_id)
    record(session, settings, by, "customer.note", subject, now, {"characters": len(text)})


def notes_on(
    session: Session, settings: Settings, customer_ids: Sequence[str], latest: int = 2
) -> list[Note]:
    """Return the newest notes on a customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    customer_ids : sequence of str
        The customer's ids, merged ones included.
    latest : int
        Number of notes.
    """
    own = Note.team_id == settings.team_id, Note.customer_id.in_(list(customer_ids))
    newest = select(Note).where(*own).order_by(Note.at.desc(), Note.id.desc()).limit(latest)
    return list(session.scalars(newest))
