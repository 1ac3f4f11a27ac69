"""The customer card: a direct message or a modal, with what people decided on the customer.

Functions that take a session run in the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.db import Transaction
from retention.db.tables import Job, Outbox
from retention.errors import BadInput
from retention.lake import customer_directory
from retention.outreach import calls, pauses
from retention.privacy import pseudonym
from retention.text import gettext
from workers.delivery import outbox
from workers.tasks.interface import Attachment, Post

KINDS = ("score", "customer_card")


def card_post(
    session: Transaction,
    job_id: str,
    data: Mapping[str, Any],
    user: str,
    *,
    view_id: str | None = None,
    images: Mapping[str, Attachment] | None = None,
) -> Post:
    """Return a customer's card.

    `view_id`: the open modal; without it the card is a direct message.
    `images`: by name. Without it the card keeps its images.
    """
    customer_id = str(data["customer_id"])
    values = {
        "intent_note": "",
        **data,
        "pseudonym": pseudonym(session.settings.key, data["customer_id"]),
        "name": customer_directory.display_names(session, [customer_id]).get(customer_id),
        "shown_in": job_id,
        "has_trend": bool(data.get("trend")),
        "desk": desk_state(session, data["customer_id"]),
    }
    return Post(
        "score/modal" if view_id else "score/customer",
        values,
        key=_card_key(session, job_id, view_id),
        channel=user,
        images=dict(images or {}),
        view_id=view_id,
        keep_images=images is None,
    )


def _card_key(session: Transaction, job_id: str, view_id: str | None) -> str | None:
    """Return the outbox key of a card; None for a new message, which replaces the progress bar."""
    if view_id:
        return f"view:{job_id}"
    own = f"job:{job_id}"
    job = session.get(Job, job_id)
    if job is None or job.state != "done":
        return None
    # With a progress bar in another channel, the card is a message of its own.
    posted = Outbox.key.in_((f"{own}:0", own))
    return session.scalar(select(Outbox.key).where(posted).order_by(Outbox.key.desc()).limit(1))


def desk_state(session: Transaction, customer_id: str) -> dict[str, Any]:
    """Return what people decided on a customer: exclusion, call and notes."""
    ids, now = [customer_id], clock.now()
    pause = pauses.pause_of(session, ids, now)
    call = calls.latest_entry(session, ids)
    return {
        "pause": pause and {"until": pause.until.isoformat(), "by": pause.by},
        "call": call
        and {
            "campaign_id": call.campaign_id,
            "owner": call.owner or "",
            "due_on": call.due_on.isoformat() if call.due_on else None,
            "done": call.outcome is not None,
            "outcome": calls.outcome_text(call.outcome),
            "note": call.note,
        },
        "notes": [
            {"text": note.text, "by": note.by, "at": note.at.isoformat()}
            for note in pauses.notes_on(session, ids)
        ],
    }


def find_card(session: Transaction, job_id: str) -> Job:
    """Return the job whose result a card shows."""
    job = session.get(Job, job_id)
    if (
        job is None
        or job.team_id != session.settings.team_id
        or job.kind not in KINDS
        or not (job.result or {}).get("customer_id")
    ):
        raise BadInput(
            gettext("This card is no longer available; `/retention score` makes a new one.")
        )
    return job


def refresh(session: Transaction, customer_id: str, job_ids: Sequence[str]) -> None:
    """Update cards after a decision on their customer."""
    for job in session.scalars(select(Job).where(Job.id.in_(list(job_ids)))):
        result = job.result or {}
        if result.get("customer_id") != customer_id:
            continue
        view_id = job.args.get("view_id")
        post = card_post(session, job.id, result, job.requested_by, view_id=view_id)
        outbox.put(session, post, default_channel=None, job_id=job.id)


def trend_text(points: Sequence[Mapping[str, Any]]) -> str:
    """Describe a customer's risk over time in words."""
    return gettext("Risk in {count} lists: {risks} of 100").format(
        count=len(points), risks=", ".join(f"{100 * point['risk']:.0f}" for point in points)
    )
