"""What people said of scores and of recommended items: stored once a person, customer, model and item.

Of a score, ``wrong`` marks the customer at that moment. Training keeps such labels unless ``RETENTION_DOUBTED_LABELS=drop``: a
colleague's word is a hint about a label, not the label. Of an item, ``wrong`` says "not for this customer": it is not offered
to them again (`refused`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from retention import clock
from retention.db.insert import upsert
from retention.db.tables import Feedback
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    pass

Verdict = Literal["useful", "wrong"]
LONGEST = 500  # characters of a reason
NEWEST = 5
NOBODY_MERGED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose score, by which model, as of when; of a recommendation also which item, at which place of the list."""

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
    """Keep a person's word; a second one replaces the first.

    Raises
    ------
    BadInput
        A score that is "wrong" without a reason, or a reason that is too long.
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
    """Of one model's scores: how many said what, and the newest reasons, without whom they are about or from."""
    mine = (
        Feedback.team_id == settings.team_id,
        Feedback.model_version == version,
        Feedback.item_id == "",
    )
    counted = dict(
        session.execute(
            select(Feedback.verdict, func.count()).where(*mine).group_by(Feedback.verdict)
        ).all()
    )
    newest = session.scalars(
        select(Feedback)
        .where(*mine, Feedback.verdict == "wrong")
        .order_by(Feedback.at.desc())
        .limit(NEWEST)
    ).all()
    return {
        "useful": counted.get("useful", 0),
        "wrong": counted.get("wrong", 0),
        "reasons": [{"text": one.reason, "at": one.at.isoformat()} for one in newest],
    }


def listed(session: Session, settings: Settings, version: str | None = None) -> list[Feedback]:
    """All of it, or one model's, newest first."""
    asked = select(Feedback).where(Feedback.team_id == settings.team_id)
    if version:
        asked = asked.where(Feedback.model_version == version)
    return list(session.scalars(asked.order_by(Feedback.at.desc(), Feedback.customer_id)))


def doubted(
    session: Session, settings: Settings, people: Mapping[str, str] = NOBODY_MERGED
) -> tuple[tuple[str, datetime], ...]:
    """Customers and moments somebody called wrong: the label-quality signal; ``people`` as for `of_items`."""
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


class Word(NamedTuple):
    """What somebody said of an item that a customer was recommended."""

    customer_id: str
    item_id: str
    model_version: str
    as_of: datetime
    verdict: str
    at: datetime


_OF_ITEMS = (  # put together once: that takes longer than to run it
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


def of_items(
    session: Session, settings: Settings, people: Mapping[str, str] = NOBODY_MERGED
) -> list[Word]:
    """Every word on recommended items, oldest first.

    ``people`` says for whom an id stands that has been merged since (`retention.lake.identity`): a word on it is one on them.
    """
    rows = session.execute(_OF_ITEMS, {"team_id": settings.team_id})
    return [Word(people.get(row[0], row[0]), *row[1:]) for row in rows]


def refused(said: Iterable[Word]) -> dict[str, set[str]]:
    """Customer → items that are not for them: those of which that was said last (as `of_items`), whoever said it."""
    last = {(one.customer_id, one.item_id): one.verdict for one in said}
    found: dict[str, set[str]] = {}
    for (customer, item), verdict in last.items():
        if verdict == "wrong":
            found.setdefault(customer, set()).add(item)
    return found
