"""The table of sends: a campaign's copies queued, claimed one at a time, settled. SQL only, in the caller's session.

A copy is claimed and committed before it is handed over, and settled after. What a dead run leaves claimed is in doubt
and is nobody else's to repeat, unless the other side drops repetitions.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, exists, func, insert, literal, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from retention import clock
from retention.db.tables import Assignment, Campaign, Send, Suppression
from retention.outreach.messages import Verdict

LEASE = timedelta(minutes=4)  # longer than any adapter takes for one copy
ATTEMPTS = 12  # over five hours: a mail server's filter may be away for a while
BACK_OFF = timedelta(seconds=30)  # after the first try; doubled after each further one
LONGEST_BACK_OFF = timedelta(hours=1)
_FAR = timedelta(days=1)  # no back-off, and no pause that a platform asks for, is that long
OF_MESSAGE = "the message was refused: "  # how the error of a copy begins of which the server had nothing against its customer
BY_HAND = ("csv", "call")  # a person takes the file
PERHAPS_THERE = ("sending", "sent", "held")  # it has reached them, or may have
REACHED = ("queued", *PERHAPS_THERE)  # counts as contact: it has reached them, may have, or will
_QUIETLY = {"synchronize_session": False}


def queue(session: Session, campaign: Campaign, channel: str, now: datetime) -> None:
    """One row for each treated customer, in the transaction that makes the campaign live. Again: nothing more."""
    columns = ["team_id", "campaign_id", "customer_id", "channel", "state", "attempts", "queued_at"]
    called = Assignment.offer["action"].as_string() == "call"
    by = case((called, literal("call")), else_=literal(channel))
    rows = (
        select(
            Assignment.team_id,
            Assignment.campaign_id,
            Assignment.customer_id,
            by,
            literal("queued"),
            literal(0),
            literal(now, Send.queued_at.type),
        )
        .where(
            Assignment.campaign_id == campaign.id,
            Assignment.arm == "treatment",
            ~exists().where(
                Send.campaign_id == campaign.id, Send.customer_id == Assignment.customer_id
            ),
        )
        .order_by(Assignment.customer_id)
    )
    session.execute(insert(Send).from_select(columns, rows, include_defaults=False))


def claim(session: Session, campaign_id: str, job_id: str, now: datetime) -> Send | None:
    """Take the next copy that is due; None where there is none, or the campaign is not live (any more).

    Parameters
    ----------
    now : datetime
        Business time.
    """
    wall = clock.wall()
    due = _due(campaign_id, now, wall)
    # Who was refused comes last: were it about them and not about us, nobody after them would ever be written to.
    for first in (
        select(Send.id).where(*due, Send.error.is_(None)).order_by(Send.id),
        select(Send.id).where(*due, Send.error.is_not(None)).order_by(Send.retry_at, Send.id),
    ):
        one = first.limit(1).with_for_update(skip_locked=True)
        taken = session.scalars(
            update(Send)
            .where(Send.id == one.scalar_subquery(), Send.state == "queued")
            .values(
                state="sending",
                attempts=Send.attempts + 1,
                job_id=job_id,
                lease_until=wall + LEASE,
                retry_at=None,
            )
            .returning(Send)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        if (send := taken.one_or_none()) is not None:
            return send
    return None


def settle(session: Session, send: Send, verdict: Verdict, now: datetime, *, repeats: bool) -> str:
    """Write what became of a try, unless somebody settled it meanwhile; returns the row's new state."""
    wall = clock.wall()
    said = f"{OF_MESSAGE}{verdict.said}" if verdict.of_message else verdict.said
    values: dict[str, Any] = {"lease_until": None, "error": said or None}
    if verdict.state == "sent":
        values |= {"state": "sent", "message_id": verdict.message_id, "sent_at": now}
    elif verdict.state == "again" or (verdict.state == "doubtful" and repeats):
        given_up = send.attempts >= ATTEMPTS
        state = "queued" if not given_up else "failed" if verdict.state == "again" else "held"
        values |= {"state": state, "retry_at": wall + back_off(send.attempts)}
    else:
        values["state"] = "held" if verdict.state == "doubtful" else verdict.state
    mine = (
        Send.id == send.id,
        Send.state == "sending",
        Send.job_id == send.job_id,
        Send.attempts == send.attempts,
    )
    session.execute(update(Send).where(*mine).values(**values), execution_options=_QUIETLY)
    return str(values["state"])


def put_back(
    session: Session, send: Send, *, not_before: datetime | None = None, said: str | None = None
) -> None:
    """Undo a claim of which nothing was handed over: its try does not count."""
    session.execute(
        update(Send)
        .where(Send.id == send.id, Send.state == "sending", Send.job_id == send.job_id)
        .values(
            state="queued",
            attempts=Send.attempts - 1,
            lease_until=None,
            error=said,
            not_before=not_before,
            retry_at=None if not_before else clock.wall() + BACK_OFF,
        ),
        execution_options=_QUIETLY,
    )


def forgive(session: Session, send: Send) -> None:
    """Undo a try that was settled already, as it turns out by no fault of this copy."""
    session.execute(
        update(Send)
        .where(
            Send.id == send.id,
            Send.state.in_(("queued", "failed")),
            Send.job_id == send.job_id,
            Send.attempts == send.attempts,
        )
        .values(state="queued", attempts=Send.attempts - 1, retry_at=clock.wall() + BACK_OFF),
        execution_options=_QUIETLY,
    )


def back_off(attempts: int) -> timedelta:
    """How long to wait after so many tries: 30 s, 1, 2, 4 … minutes, at most an hour."""
    return min(BACK_OFF * 2 ** (attempts - 1), LONGEST_BACK_OFF)


def give_up_where_over(session: Session, campaign_id: str) -> bool:
    """Whether the campaign is not live any more; then what is in doubt is held, and what is queued cancelled.

    A try that was under way when it was stopped may end in "once more", or never, because its process died.
    """
    over = session.scalar(select(Campaign.state).where(Campaign.id == campaign_id)) != "live"
    if over:
        recover(session, campaign_id, repeats=False)
        cancel_unsent(session, campaign_id, "the campaign is over")
    return over


def recover(session: Session, campaign_id: str, *, repeats: bool) -> int:
    """Settle what a dead run left claimed: queued again where a repetition is harmless, else held for a person."""
    lost = session.execute(
        update(Send)
        .where(
            Send.campaign_id == campaign_id,
            Send.state == "sending",
            _past(Send.lease_until, clock.wall()),
        )
        .values(
            state="queued" if repeats else "held",
            lease_until=None,
            error="its process died before it learnt whether the copy was accepted",
        ),
        execution_options=_QUIETLY,
    )
    return int(lost.rowcount)  # type: ignore[attr-defined]


def put_off(
    session: Session, campaign_id: str, customer_ids: Iterable[str], until: datetime
) -> None:
    """Let the queued copies of these customers wait for a moment of business time: their quiet hours."""
    ids = sorted(customer_ids)
    for start in range(0, len(ids), 500):
        chosen = Send.customer_id.in_(ids[start : start + 500])
        session.execute(
            update(Send)
            .where(Send.campaign_id == campaign_id, Send.state == "queued", chosen)
            .values(not_before=until),
            execution_options=_QUIETLY,
        )


def pause(session: Session, campaign_id: str, until: datetime) -> None:
    """Let all queued copies of a campaign wait for a moment of real time: the other side takes none before."""
    later = or_(Send.retry_at.is_(None), Send.retry_at < until)
    session.execute(
        update(Send)
        .where(Send.campaign_id == campaign_id, Send.state == "queued", later)
        .values(retry_at=until),
        execution_options=_QUIETLY,
    )


def leave_out(session: Session, campaign_id: str, customer_ids: Iterable[str], why: str) -> None:
    """Cancel queued copies of these customers."""
    ids = sorted(customer_ids)
    for start in range(0, len(ids), 500):
        _cancel(session, campaign_id, why, Send.customer_id.in_(ids[start : start + 500]))


def leave_out_suppressed(session: Session, campaign_id: str) -> None:
    """Cancel queued copies of who has unsubscribed since."""
    _cancel(
        session,
        campaign_id,
        "unsubscribed since",
        Send.customer_id.in_(select(Suppression.customer_id)),
    )


def cancel(session: Session, campaign_id: str, why: str) -> None:
    """Cancel whatever of a campaign is still queued."""
    _cancel(session, campaign_id, why)


def cancel_unsent(session: Session, campaign_id: str, why: str) -> None:
    """Cancel what was to go out by itself; a file's copies wait on: its codes may have gone out another way."""
    _cancel(session, campaign_id, why, Send.channel.not_in(BY_HAND))


def taken_as_file(
    session: Session, campaign_id: str, job_id: str, now: datetime, channel: str = "csv"
) -> None:
    """The campaign's codes (or its call list) were handed over as a file: these count as sent from now on."""
    session.execute(
        update(Send)
        .where(Send.campaign_id == campaign_id, Send.channel == channel, Send.state == "queued")
        .values(state="sent", sent_at=now, job_id=job_id, attempts=1),
        execution_options=_QUIETLY,
    )


def left_out(session: Session, campaign_id: str) -> set[str]:
    """Customers who were to get a copy and get none any more: unsubscribed, without consent, erased."""
    rows = select(Send.customer_id).where(
        Send.campaign_id == campaign_id, Send.state == "cancelled"
    )
    return set(session.scalars(rows))


def not_contacted(session: Session, campaign_id: str) -> set[str]:
    """Customers whose copy has not reached them and will not: left out, bounced or failed. They cost no contact."""
    rows = select(Send.customer_id).where(
        Send.campaign_id == campaign_id, Send.state.not_in(REACHED)
    )
    return set(session.scalars(rows))


def why_left_out(session: Session, campaign_id: str) -> dict[str, int]:
    """How many of the treated got no copy and will get none, by the reason."""
    said = {"bounced": "it bounced", "failed": "it could not be sent"}
    gone = select(Send.state, Send.error, func.count()).where(
        Send.campaign_id == campaign_id, Send.state.not_in(REACHED)
    )
    found: dict[str, int] = {}
    for state, error, number in session.execute(gone.group_by(Send.state, Send.error)):
        why = said.get(state) or error or "stopped"
        found[why] = found.get(why, 0) + number
    return found


def untaken(session: Session, campaign_id: str) -> dict[str, int]:
    """How many customers wait in a file that nobody has taken: ``csv`` (of codes) and ``call``."""
    waiting = Send.campaign_id == campaign_id, Send.state == "queued", Send.channel.in_(BY_HAND)
    counted = select(Send.channel, func.count()).where(*waiting).group_by(Send.channel)
    return {**dict.fromkeys(BY_HAND, 0), **dict(session.execute(counted).tuples().all())}


def counts(session: Session, campaign_id: str) -> dict[str, int]:
    """Copies of a campaign by state, of those that go out by themselves: a file's wait for whoever takes it."""
    ours = Send.campaign_id == campaign_id, Send.channel.not_in(BY_HAND)
    counted = select(Send.state, func.count()).where(*ours).group_by(Send.state)
    return dict(session.execute(counted).tuples().all())


def taken(session: Session, campaign_id: str) -> bool:
    """Whether any of a campaign's copies that go out by themselves was taken."""
    ours = Send.campaign_id == campaign_id, Send.channel.not_in(BY_HAND), Send.state == "sent"
    return session.scalar(select(Send.id).where(*ours).limit(1)) is not None


def held(session: Session, campaign_id: str) -> list[Send]:
    """Copies of which nobody knows whether they arrived, and that wait for a person, the oldest first."""
    waiting = select(Send).where(Send.campaign_id == campaign_id, Send.state == "held")
    return list(session.scalars(waiting.order_by(Send.id)))


def release(session: Session, campaign_id: str, again: bool, copy: int | None = None) -> int:
    """Settle held copies (or one, by its number) as a person says; returns how many.

    ``again``: each is queued once more with all its tries, and who has got it already gets it twice. Else it counts as
    sent, at the moment from which it counts as contact.
    """
    which = (Send.campaign_id == campaign_id, Send.state == "held")
    values: dict[str, Any] = (
        {"state": "queued", "attempts": 0, "retry_at": None, "error": None}
        if again
        else {"state": "sent", "sent_at": Send.queued_at}
    )
    freed = session.execute(
        update(Send).where(*which, *([] if copy is None else [Send.id == copy])).values(**values),
        execution_options=_QUIETLY,
    )
    return int(freed.rowcount)  # type: ignore[attr-defined]


def reached(session: Session, team_id: str, since: datetime) -> set[str]:
    """Customers contacted since then, by the rows: sent, perhaps sent, or about to be."""
    at = func.coalesce(Send.sent_at, Send.queued_at)
    found = select(Send.customer_id).where(
        Send.team_id == team_id, Send.state.in_(REACHED), at >= since
    )
    return set(session.scalars(found))


def due_campaigns(session: Session, team_id: str, now: datetime) -> list[Campaign]:
    """Campaigns with a copy to send by now, with one that a dead run left claimed, or over with one still queued."""
    wall = clock.wall()
    copy = exists().where(
        Send.campaign_id == Campaign.id,
        Send.channel.not_in(BY_HAND),
        Send.state.in_(
            ("queued", "sending")
        ),  # in the index: what was sent long ago is not read at each tick
        or_(
            _ready(now, wall),
            (Send.state == "sending") & _past(Send.lease_until, wall),
            (Send.state == "queued") & (Campaign.state != "live"),
        ),
    )
    return list(
        session.scalars(
            select(Campaign).where(Campaign.team_id == team_id, copy).order_by(Campaign.sent_at)
        )
    )


def next_moment(session: Session, team_id: str, after: datetime) -> datetime | None:
    """The first moment later than ``after`` at which somebody's quiet hours are over."""
    return session.scalar(
        select(func.min(Send.not_before)).where(
            Send.team_id == team_id, Send.state == "queued", Send.not_before > after
        )
    )


def _due(campaign_id: str, now: datetime, wall: datetime) -> tuple[ColumnElement[bool], ...]:
    live = exists().where(Campaign.id == campaign_id, Campaign.state == "live")
    wanted = ~exists().where(Suppression.customer_id == Send.customer_id)
    return (
        Send.campaign_id == campaign_id,
        Send.channel.not_in(BY_HAND),
        _ready(now, wall),
        live,
        wanted,
    )


def _ready(now: datetime, wall: datetime) -> ColumnElement[bool]:
    return (
        (Send.state == "queued")
        & or_(Send.not_before.is_(None), Send.not_before <= now)
        & or_(Send.retry_at.is_(None), _past(Send.retry_at, wall))
    )


def _past(moment: InstrumentedAttribute[datetime | None], wall: datetime) -> ColumnElement[bool]:
    """It is over; so is one further ahead than anything is put off: it was written while a machine's clock was wrong."""
    return or_(moment <= wall, moment > wall + _FAR)


def _cancel(session: Session, campaign_id: str, why: str, *which: ColumnElement[bool]) -> None:
    session.execute(
        update(Send)
        .where(Send.campaign_id == campaign_id, Send.state == "queued", *which)
        .values(state="cancelled", error=why),
        execution_options=_QUIETLY,
    )
