"""Keep verified webhooks in SQL until a job has imported them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update

from retention import clock
from retention.db import Transaction
from retention.db.insert import insert_once
from retention.db.tables import Connection, Webhook
from retention.errors import BadInput
from retention.privacy.periods import keep
from retention.settings import Settings
from retention.text import gettext

WAITING, DONE, SET_ASIDE = "waiting", "done", "set_aside"
ALL = "all"  # instead of the number of a delivery
MAX_ATTEMPTS = 12  # of a delivery that the platform must explain; with back-off this is a day
MAX_TRIES = 3  # of a delivery that breaks the import; it must not hold up the others for longer
FIRST_PAUSE, MAX_PAUSE = timedelta(seconds=15), timedelta(hours=4)
MAX_BATCH_BYTES = 20_000_000


@dataclass
class Results:
    """What became of some deliveries."""

    done: list[int] = field(default_factory=list)
    set_aside: dict[int, str] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    later: dict[int, datetime] = field(default_factory=dict)


def store(
    session: Transaction, connection: Connection, delivery_id: str, topic: str, body: bytes
) -> bool:
    """Store a verified delivery once.

    Returns: false if it was stored before.
    """
    return insert_once(
        session,
        Webhook,
        team_id=connection.team_id,
        connection_id=connection.id,
        delivery_id=delivery_id[:255],
        topic=topic[:80],
        body=body,
        state=WAITING,
        attempts=0,
        received_at=clock.wall(),
    )


def is_waiting(session: Transaction) -> bool:
    """Return whether a delivery can be imported now."""
    return session.scalar(_importable(session).limit(1)) is not None


def waiting(session: Transaction, most: int) -> list[Webhook]:
    """Return the oldest deliveries that can be imported now.

    `most`: greatest number. Large ones are fewer, but at least one.
    """
    found: list[Webhook] = []
    size = 0
    for delivery in session.scalars(_importable(session).order_by(Webhook.id).limit(most)):
        size += len(delivery.body)
        if found and size > MAX_BATCH_BYTES:
            break
        found.append(delivery)
    return found


def _importable(session: Transaction) -> Select[Webhook]:
    waiting = session.own(Webhook, state=WAITING)
    return waiting.where(or_(Webhook.retry_at.is_(None), Webhook.retry_at <= clock.wall()))


def next_attempt(attempts: int, asked_for: datetime | None) -> datetime:
    """Return the real time of the next attempt."""
    pause = min(FIRST_PAUSE * 2 ** min(attempts, 20), MAX_PAUSE)
    return max(clock.wall() + pause, asked_for or clock.wall())


def mark(session: Transaction, results: Results) -> None:
    """Store what became of deliveries; most lose their content.

    It is personal data, and the next pull reads what was set aside from the shop itself.
    """
    now = clock.wall()
    _set(session, results.done, {"state": DONE, "body": b"", "done_at": now})
    for reasons, emptied in ((results.set_aside, {"body": b""}), (results.quarantined, {})):
        for delivery_id, reason in reasons.items():
            values = {"state": SET_ASIDE, "reason": reason[:500], "done_at": now, **emptied}
            _set(session, [delivery_id], values)
    for delivery_id, at in results.later.items():
        _set(session, [delivery_id], {"retry_at": at, "attempts": Webhook.attempts + 1})


def _set(session: Transaction, ids: Collection[int], values: Mapping[str, object]) -> None:
    waiting = update(Webhook).where(Webhook.id.in_(ids), Webhook.state == WAITING)
    session.change(waiting.values(values))


def drop_old(session: Transaction) -> None:
    """Delete old deliveries that do not wait."""
    now = clock.wall()
    for state, age in ((DONE, keep("webhooks")), (SET_ASIDE, keep("refused_webhooks"))):
        own = delete(Webhook).filter_by(team_id=session.settings.team_id, state=state)
        session.change(own.where(Webhook.done_at < now - age))


def not_imported(session: Transaction) -> list[tuple[Webhook, str]]:
    """Return the deliveries that were set aside with the name of their shop, newest first."""
    named = select(Webhook, Connection.name).join(
        Connection, Connection.id == Webhook.connection_id
    )
    own = named.where(_chosen(session.settings, ALL)).order_by(Webhook.id.desc())
    return list(session.execute(own).tuples())


def try_again(session: Transaction, chosen: str) -> int:
    """Let quarantined deliveries wait for an import again; return their number."""
    wait = {"state": WAITING, "reason": None, "attempts": 0, "retry_at": None, "done_at": None}
    condition = _chosen(session.settings, chosen), func.length(Webhook.body) > 0
    number = session.change(update(Webhook).where(*condition).values(wait))
    if not number and chosen != ALL:
        message = gettext(
            "There is no webhook {number} with its content. What was set aside without it comes "
            "with the next pull of the shop."
        )
        raise BadInput(message.format(number=chosen), field="retry")
    return number


def discard(session: Transaction, chosen: str) -> int:
    """Delete deliveries that were set aside; return their number."""
    number = session.change(delete(Webhook).where(_chosen(session.settings, chosen)))
    if not number and chosen != ALL:
        message = gettext("There is no webhook {number} in quarantine.")
        raise BadInput(message.format(number=chosen), field="delete")
    return number


def _chosen(settings: Settings, chosen: str) -> ColumnElement[bool]:
    """Return the condition of one delivery by its number, or of all that were set aside."""
    own = (Webhook.team_id == settings.team_id) & (Webhook.state == SET_ASIDE)
    if chosen == ALL:
        return own
    if not chosen.isdecimal() or len(chosen) > 18:
        message = gettext("{chosen!r} is no webhook; give its number or {all}.")
        raise BadInput(message.format(chosen=chosen, all=ALL))
    return own & (Webhook.id == int(chosen))


def empty_quarantined(session: Transaction) -> int:
    """Delete the contents of quarantined deliveries; return their number.

    An erasure cannot know whom an unreadable one names.
    """
    own = _chosen(session.settings, ALL), func.length(Webhook.body) > 0
    return session.change(update(Webhook).where(*own).values(body=b""))
