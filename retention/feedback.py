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
from sqlalchemy.orm import Session

from retention import clock
from retention.db.insert import upsert
from retention.db.tables import Feedback
from retention.errors import BadInput
from retention.settings import Settings
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
    session: Session,
    settings: Settings,
    subject: Subject,
    verdict: Verdict,
    by: str,
    reason: str = "",
) -> None:
    """Store a user's feedback; new feedback replaces the old.

    Parameters
    ----------
    session, settings : Session, Settings
        The caller's transaction and installation.
    subject : Subject
        The score or recommendation.
    verdict : {"useful", "wrong"}
        The answer.
    by : str
        Slack user id.
    reason : str
        Required for a wrong score; at most 500 characters.

    Raises
    ------
    BadInput
        If a score is "wrong" without a reason, or the reason is too long.
    """
    reason = " ".join(reason.split())
    if verdict == "wrong" and not reason and not subject.item_id:
        raise BadInput(
            gettext(
                "Say in a few words what is wrong; the next model can only learn from a reason."
            ),
            field="reason",
        )
    if len(reason) > LONGEST:
        raise BadInput(
            gettext("The reason has {count} characters; keep it to {longest}.").format(
                count=len(reason), longest=LONGEST
            ),
            field="reason",
        )
    key = {
        "team_id": settings.team_id,
        "customer_id": subject.customer_id,
        "model_version": subject.model_version,
        "user_id": by,
        "item_id": subject.item_id,
    }
    upsert(
        session,
        Feedback,
        key,
        verdict=verdict,
        reason=reason,
        position=subject.position,
        as_of=subject.as_of,
        at=clock.now(),
    )


def summary(session: Session, settings: Settings, version: str) -> dict[str, Any]:
    """Count the feedback on one model's scores.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    version : str
        Version of the model.

    Returns
    -------
    dict
        ``useful`` and ``wrong`` (counts), and ``reasons``: the newest texts with their times,
        without names.
    """
    about_model = (
        Feedback.team_id == settings.team_id,
        Feedback.model_version == version,
        Feedback.item_id == "",
    )
    counts = dict(
        session.execute(
            select(Feedback.verdict, func.count()).where(*about_model).group_by(Feedback.verdict)
        ).all()
    )
    newest = session.scalars(
        select(Feedback)
        .where(*about_model, Feedback.verdict == "wrong")
        .order_by(Feedback.at.desc())
        .limit(NEWEST)
    ).all()
    return {
        "useful": counts.get("useful", 0),
        "wrong": counts.get("wrong", 0),
        "reasons": [{"text": row.reason, "at": row.at.isoformat()} for row in newest],
    }


def list_feedback(
    session: Session, settings: Settings, version: str | None = None
) -> list[Feedback]:
    """Return feedback, newest first.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    version : str, optional
        Only feedback on this model.

    Returns
    -------
    list of Feedback
    """
    query = select(Feedback).where(Feedback.team_id == settings.team_id)
    if version:
        query = query.where(Feedback.model_version == version)
    return list(session.scalars(query.order_by(Feedback.at.desc(), Feedback.customer_id)))


def doubted_scores(
    session: Session, settings: Settings, people: Mapping[str, str] = NO_MERGES
) -> tuple[tuple[str, datetime], ...]:
    """Return customers and times with feedback "wrong".

    ``people`` is as in `item_feedback`.

    Parameters
    ----------
    session, settings : Session, Settings
        The caller's transaction and installation.
    people : mapping of str to str
        Merged id → the customer's current id.
    """
    rows = session.execute(
        select(Feedback.customer_id, Feedback.as_of)
        .where(
            Feedback.team_id == settings.team_id,
            Feedback.verdict == "wrong",
            Feedback.item_id == "",
        )
        .order_by(Feedback.customer_id, Feedback.as_of)
    )
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
    select(
        Feedback.customer_id,
        Feedback.item_id,
        Feedback.model_version,
        Feedback.as_of,
        Feedback.verdict,
        Feedback.at,
    )
    .where(Feedback.team_id == bindparam("team_id"), Feedback.item_id != "")
    .order_by(Feedback.at, Feedback.user_id)
)


def item_feedback(
    session: Session, settings: Settings, people: Mapping[str, str] = NO_MERGES
) -> list[ItemFeedback]:
    """Return all feedback on recommended items, oldest first.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    people : mapping of str to str
        Merged id → the customer's current id (`retention.lake.identity`).

    Returns
    -------
    list of ItemFeedback
    """
    rows = session.execute(_ITEM_FEEDBACK, {"team_id": settings.team_id})
    return [ItemFeedback(people.get(row[0], row[0]), *row[1:]) for row in rows]


def refused_items(feedback: Iterable[ItemFeedback]) -> dict[str, set[str]]:
    """Return the refused items of each customer.

    The newest feedback on an item decides, by any user.

    Parameters
    ----------
    feedback : iterable of ItemFeedback
        Oldest first.

    Returns
    -------
    dict of str to set of str
        Customer id → item ids.
    """
    newest = {(answer.customer_id, answer.item_id): answer.verdict for answer in feedback}
    refused: dict[str, set[str]] = {}
    for (customer, item), verdict in newest.items():
        if verdict == "wrong":
            refused.setdefault(customer, set()).add(item)
    return refused
