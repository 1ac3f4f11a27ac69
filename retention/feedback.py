"""Store users' feedback on scores and recommended items.

Each user has one answer per customer, model and item. A score marked ``wrong`` flags the customer
at that time. Training keeps flagged labels unless ``RETENTION_DOUBTED_LABELS=drop``, because an
opinion is only a hint. An item marked ``wrong`` is not recommended to that customer again
(`refused_items`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from sqlalchemy import bindparam, func, select

from retention import clock
from retention.db import Transaction
from retention.db.insert import upsert
from retention.db.tables import Feedback
from retention.errors import BadInput
from retention.text import gettext

Verdict = Literal["useful", "wrong"]
LONGEST = 500  # characters of a reason
NEWEST = 5
NO_MERGES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Subject:
    """The score or recommendation that feedback is about.

    A score has a customer, a model and a time; a recommendation also has an item and its position
    on the list.
    """

    customer_id: str
    model_version: str
    as_of: datetime
    item_id: str = ""
    position: int | None = None


def record(
    session: Transaction, subject: Subject, verdict: Verdict, by: str, reason: str = ""
) -> None:
    """Store a user's feedback; new feedback replaces the old.

    `reason`: required for a wrong score; at most 500 characters.
    Raises `BadInput`: if a score is "wrong" without a reason, or the reason is too long.
    """
    reason, fault = " ".join(reason.split()), ""
    if verdict == "wrong" and not reason and not subject.item_id:
        fault = gettext(
            "Say in a few words what is wrong; the next model can only learn from a reason."
        )
    if len(reason) > LONGEST:
        text = gettext("The reason has {count} characters; keep it to {longest}.")
        fault = text.format(count=len(reason), longest=LONGEST)
    if fault:
        raise BadInput(fault, field="reason")
    about = {name: getattr(subject, name) for name in ("customer_id", "model_version", "item_id")}
    key = {"team_id": session.settings.team_id, "user_id": by, **about}
    when = {"as_of": subject.as_of, "at": clock.now()}
    position = subject.position
    upsert(session, Feedback, key, verdict=verdict, reason=reason, position=position, **when)


def summary(session: Transaction, version: str) -> dict[str, Any]:
    """Count the feedback on one model's scores.

    Returns: ``useful`` and ``wrong`` (counts), and ``reasons``: the newest texts with their times,
    without names.
    """
    about_model = session.own(Feedback, model_version=version, item_id="")
    by_verdict = about_model.with_only_columns(Feedback.verdict, func.count())
    counts = dict(session.execute(by_verdict.group_by(Feedback.verdict)).all())
    wrong = about_model.filter_by(verdict="wrong").order_by(Feedback.at.desc())
    newest = session.scalars(wrong.limit(NEWEST))
    return {
        "useful": counts.get("useful", 0),
        "wrong": counts.get("wrong", 0),
        "reasons": [{"text": row.reason, "at": row.at.isoformat()} for row in newest],
    }


def list_feedback(session: Transaction, version: str | None = None) -> list[Feedback]:
    """Return feedback, newest first."""
    query = session.own(Feedback, **{"model_version": version} if version else {})
    return list(session.scalars(query.order_by(Feedback.at.desc(), Feedback.customer_id)))


def doubted_scores(
    session: Transaction, people: Mapping[str, str] = NO_MERGES
) -> tuple[tuple[str, datetime], ...]:
    """Return customers and times with feedback "wrong". ``people`` is as in `item_feedback`."""
    columns = Feedback.customer_id, Feedback.as_of
    wrong = session.own(Feedback, verdict="wrong", item_id="").with_only_columns(*columns)
    rows = session.execute(wrong.order_by(*columns))
    return tuple((people.get(customer, customer), as_of) for customer, as_of in rows)


class ItemFeedback(NamedTuple):
    """Feedback of one user on one recommended item."""

    customer_id: str
    item_id: str
    model_version: str
    as_of: datetime
    verdict: str
    at: datetime


_ITEM_FEEDBACK = (  # built once, because building takes longer than running
    select(*(getattr(Feedback, name) for name in ItemFeedback._fields))
    .where(Feedback.team_id == bindparam("team_id"), Feedback.item_id != "")
    .order_by(Feedback.at, Feedback.user_id)
)


def item_feedback(
    session: Transaction, people: Mapping[str, str] = NO_MERGES
) -> list[ItemFeedback]:
    """Return all feedback on recommended items, oldest first.

    `people`: merged id → the customer's current id (`retention.lake.identity`).
    """
    rows = session.execute(_ITEM_FEEDBACK, {"team_id": session.settings.team_id})
    return [ItemFeedback(people.get(row[0], row[0]), *row[1:]) for row in rows]


def refused_items(feedback: Iterable[ItemFeedback]) -> dict[str, set[str]]:
    """Return the refused items of each customer.

    The newest feedback on an item decides, by any user.

    `feedback`: oldest first.
    """
    newest = {(answer.customer_id, answer.item_id): answer.verdict for answer in feedback}
    refused: dict[str, set[str]] = {}
    for (customer, item), verdict in newest.items():
        if verdict == "wrong":
            refused.setdefault(customer, set()).add(item)
    return refused
