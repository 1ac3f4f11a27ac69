"""Queue, claim and settle the e-mails of a campaign.

SQL only, in the caller's session. A send is claimed and committed before it is handed over, and
settled afterwards. A send left claimed by a dead process is uncertain. It is repeated only if the
server drops duplicates.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from retention import clock
from retention.db.tables import (
    Assignment,
    Campaign,
    Coupon,
    Send,
    ShopCode,
    ShopDiscount,
    Suppression,
)
from retention.outreach.adapter import MESSAGE_REFUSED, CancelCode, Verdict
from retention.outreach.channels import sql_consent_channel
from retention.text import gettext

LEASE = timedelta(minutes=4)  # longer than any attempt takes
MAX_ATTEMPTS = 12  # over five hours; spam filters may be down for a while
BACK_OFF = timedelta(seconds=30)  # after the first attempt; doubled after each further one
MAX_BACK_OFF = timedelta(hours=1)
_TOO_FAR_AHEAD = timedelta(days=1)  # longer than any back-off or pause
MANUAL_CHANNELS = ("csv", "call")  # a person downloads a file
POSSIBLY_DELIVERED = ("sending", "sent", "held")  # delivered, or maybe
CONTACT_STATES = ("queued", *POSSIBLY_DELIVERED)  # delivered, maybe, or soon
_NO_SYNC = {"synchronize_session": False}


def queue_sends(session: Session, campaign: Campaign, channel: str, now: datetime) -> None:
    """Queue one send per treated customer.

    Runs in the transaction that makes the campaign live. Repeating adds nothing.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign : Campaign
        The campaign.
    channel : str
        Channel of the sends; calls are queued as ``call``. Text messages have their own.
    now : datetime
        Business time.
    """
    columns = ["team_id", "campaign_id", "customer_id", "channel", "state", "attempts", "queued_at"]
    is_call = Assignment.offer["action"].as_string() == "call"
    send_channel = case((is_call, literal("call")), else_=literal(channel))
    rows = (
        select(
            Assignment.team_id,
            Assignment.campaign_id,
            Assignment.customer_id,
            send_channel,
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
    """Claim the next due send.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    job_id : str
        Job that sends.
    now : datetime
        Business time.

    Returns
    -------
    Send or None
        None if nothing is due or the campaign is not live.
    """
    wall = clock.wall()
    values = {
        "of_campaign": campaign_id,
        "at": now,
        "wall": wall,
        "far": wall + _TOO_FAR_AHEAD,
        "of_job": job_id,
        "lease": wall + LEASE,
    }
    for statement in _claim_statements():
        if (send := session.scalars(statement, values).one_or_none()) is not None:
            return send
    return None


@cache
def _claim_statements() -> tuple[Any, Any]:
    """Return the statements of `claim`; building them took longer than running them."""
    is_due = (
        Send.campaign_id == bindparam("of_campaign"),
        Send.channel.not_in(MANUAL_CHANNELS),
        _ready(bindparam("at"), bindparam("wall"), bindparam("far")),
        exists().where(Campaign.id == bindparam("of_campaign"), Campaign.state == "live"),
        ~_is_suppressed(),
    )

    def claim_first(candidate: Any) -> Any:
        first = candidate.limit(1).with_for_update(skip_locked=True).scalar_subquery()
        return (
            update(Send)
            .where(Send.id == first, Send.state == "queued")
            .values(
                state="sending",
                attempts=Send.attempts + 1,
                job_id=bindparam("of_job"),
                lease_until=bindparam("lease"),
                retry_at=None,
            )
            .returning(Send)
            .execution_options(synchronize_session=False, populate_existing=True)
        )

    # Refused sends come last, so a bad address does not block the others.
    chosen = select(Send.id).where(*is_due)
    return (
        claim_first(chosen.where(Send.error.is_(None)).order_by(Send.id)),
        claim_first(chosen.where(Send.error.is_not(None)).order_by(Send.retry_at, Send.id)),
    )


def settle(
    session: Session, send: Send, verdict: Verdict, now: datetime, *, may_repeat: bool
) -> str:
    """Store the result of an attempt unless already settled.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    send : Send
        The send.
    verdict : Verdict
        Result of the attempt.
    now : datetime
        Business time.
    may_repeat : bool
        Whether the server drops duplicates, so an uncertain e-mail may be repeated.

    Returns
    -------
    str
        New state of the row.
    """
    wall = clock.wall()
    error = verdict.detail
    if verdict.code == MESSAGE_REFUSED:
        error = gettext("the message was refused: {detail}").format(detail=error)
    values: dict[str, Any] = {
        "lease_until": None,
        "error": error or None,
        "error_code": verdict.code,
    }
    if verdict.state == "sent":
        values |= {"state": "sent", "message_id": verdict.message_id, "sent_at": now}
    elif verdict.state == "again" or (verdict.state == "doubtful" and may_repeat):
        given_up = send.attempts >= MAX_ATTEMPTS
        state = "queued" if not given_up else "failed" if verdict.state == "again" else "held"
        values |= {"state": state, "retry_at": wall + back_off(send.attempts)}
    else:
        values["state"] = "held" if verdict.state == "doubtful" else verdict.state
    is_own_claim = (
        Send.id == send.id,
        Send.state == "sending",
        Send.job_id == send.job_id,
        Send.attempts == send.attempts,
    )
    session.execute(update(Send).where(*is_own_claim).values(**values), execution_options=_NO_SYNC)
    return str(values["state"])


def release_claim(
    session: Session, send: Send, *, not_before: datetime | None = None, error: str | None = None
) -> None:
    """Release a claim without counting the attempt.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    send : Send
        The send.
    not_before : datetime, optional
        Business time of the next attempt.
    error : str, optional
        Error to show.
    """
    session.execute(
        update(Send)
        .where(Send.id == send.id, Send.state == "sending", Send.job_id == send.job_id)
        .values(
            state="queued",
            attempts=Send.attempts - 1,
            lease_until=None,
            error=error,
            error_code=None,
            not_before=not_before,
            retry_at=None if not_before else clock.wall() + BACK_OFF,
        ),
        execution_options=_NO_SYNC,
    )


def undo_attempt(session: Session, send: Send) -> None:
    """Undo a settled attempt that was not the e-mail's fault.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    send : Send
        The send.
    """
    session.execute(
        update(Send)
        .where(
            Send.id == send.id,
            Send.state.in_(("queued", "failed")),
            Send.job_id == send.job_id,
            Send.attempts == send.attempts,
        )
        .values(state="queued", attempts=Send.attempts - 1, retry_at=clock.wall() + BACK_OFF),
        execution_options=_NO_SYNC,
    )


def back_off(attempts: int) -> timedelta:
    """Return the wait after n attempts: 30 s, doubled up to an hour."""
    return min(BACK_OFF * 2 ** (attempts - 1), MAX_BACK_OFF)


def close_if_over(session: Session, campaign_id: str) -> bool:
    """Close the sends of a campaign that is not live.

    Queued e-mails are cancelled, and sends left claimed by a dead process are held. Repeat it: an
    attempt running during the stop may queue its send again.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    bool
        Whether the campaign is over.
    """
    over = session.scalar(select(Campaign.state).where(Campaign.id == campaign_id)) != "live"
    if over:
        recover_lost(session, campaign_id, may_repeat=False)
        cancel_unsent(session, campaign_id, "campaign_over")
    return over


def recover_lost(session: Session, campaign_id: str, *, may_repeat: bool) -> int:
    """Settle sends left claimed by dead processes.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    may_repeat : bool
        Whether they may be repeated; otherwise a person decides.

    Returns
    -------
    int
        Number of such sends.
    """
    lost = session.execute(
        update(Send)
        .where(
            Send.campaign_id == campaign_id,
            Send.state == "sending",
            _past(Send.lease_until, clock.wall()),
        )
        .values(
            state="queued" if may_repeat else "held",
            lease_until=None,
            error=gettext("its process died before it learnt whether the copy was accepted"),
        ),
        execution_options=_NO_SYNC,
    )
    return int(lost.rowcount)  # type: ignore[attr-defined]


def postpone(
    session: Session, campaign_id: str, customer_ids: Iterable[str], until: datetime
) -> None:
    """Postpone queued sends until quiet hours end.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    customer_ids : iterable of str
        Customer ids.
    until : datetime
        Business time.
    """
    ids = sorted(customer_ids)
    for start in range(0, len(ids), 500):
        chosen = Send.customer_id.in_(ids[start : start + 500])
        session.execute(
            update(Send)
            .where(Send.campaign_id == campaign_id, Send.state == "queued", chosen)
            .values(not_before=until),
            execution_options=_NO_SYNC,
        )


def pause(session: Session, campaign_id: str, until: datetime) -> None:
    """Postpone all queued sends of a campaign.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    until : datetime
        Real time before which the server accepts nothing.
    """
    later = or_(Send.retry_at.is_(None), Send.retry_at < until)
    session.execute(
        update(Send)
        .where(Send.campaign_id == campaign_id, Send.state == "queued", later)
        .values(retry_at=until),
        execution_options=_NO_SYNC,
    )


def cancel_sends_to(
    session: Session, campaign_id: str, customer_ids: Iterable[str], code: CancelCode
) -> None:
    """Cancel the queued sends of some customers.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    customer_ids : iterable of str
        Customer ids.
    code : CancelCode
        Stored with the sends.
    """
    ids = sorted(customer_ids)
    for start in range(0, len(ids), 500):
        _cancel(session, campaign_id, code, Send.customer_id.in_(ids[start : start + 500]))


def cancel_suppressed(session: Session, campaign_id: str) -> None:
    """Cancel the queued sends of unsubscribed customers.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    """
    _cancel(session, campaign_id, "unsubscribed", _is_suppressed())


def cancel(session: Session, campaign_id: str, code: CancelCode) -> None:
    """Cancel all queued sends of a campaign.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    code : CancelCode
        Stored with the sends.
    """
    _cancel(session, campaign_id, code)


def cancel_unsent(session: Session, campaign_id: str, code: CancelCode) -> None:
    """Cancel queued e-mails; sends in files keep waiting.

    Codes of a file may have gone out another way.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    code : CancelCode
        Stored with the sends.
    """
    _cancel(session, campaign_id, code, Send.channel.not_in(MANUAL_CHANNELS))


def mark_file_taken(
    session: Session, campaign_id: str, job_id: str, now: datetime, channel: str = "csv"
) -> None:
    """Mark the sends of a downloaded file as sent.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    job_id : str
        Job that sends.
    now : datetime
        Business time.
    channel : str, optional
        ``csv`` (codes) or ``call``.
    """
    session.execute(
        update(Send)
        .where(Send.campaign_id == campaign_id, Send.channel == channel, Send.state == "queued")
        .values(state="sent", sent_at=now, job_id=job_id, attempts=1),
        execution_options=_NO_SYNC,
    )


def cancel_reason(code: str | None) -> str | None:
    """Return the sentence for a cancellation code; None for other codes."""
    return {
        "no_consent": gettext("no consent any more"),
        "unsubscribed": gettext("unsubscribed since"),
        "same_number": gettext("another customer of the campaign has the same phone number"),
        "campaign_stopped": gettext("the campaign was stopped"),
        "campaign_over": gettext("the campaign is over"),
        "window_over": gettext("not sent before the window was over"),
        "erased": gettext("erased"),
    }.get(code or "")


def release_held(
    session: Session, campaign_id: str, again: bool, send_id: int | None = None
) -> int:
    """Settle held sends by a person's decision.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    again : bool
        Queue them again with all attempts; a customer may get two. Otherwise they count as sent.
    send_id : int, optional
        Id of one send; default all.

    Returns
    -------
    int
        Number of settled sends.
    """
    is_held = (Send.campaign_id == campaign_id, Send.state == "held")
    values: dict[str, Any] = (
        {"state": "queued", "attempts": 0, "retry_at": None, "error": None, "error_code": None}
        if again
        else {"state": "sent", "sent_at": Send.queued_at}
    )
    released = session.execute(
        update(Send)
        .where(*is_held, *([] if send_id is None else [Send.id == send_id]))
        .values(**values),
        execution_options=_NO_SYNC,
    )
    return int(released.rowcount)  # type: ignore[attr-defined]


def due_campaigns(session: Session, team_id: str, now: datetime) -> list[Campaign]:
    """Return campaigns that need a delivery job.

    They have a due send, a send left claimed by a dead process, or a queued send after their end.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    team_id : str
        Slack team.
    now : datetime
        Business time.

    Returns
    -------
    list of Campaign
    """
    wall = clock.wall()
    has_due_send = exists().where(
        Send.campaign_id == Campaign.id,
        Send.channel.not_in(MANUAL_CHANNELS),
        Send.state.in_(("queued", "sending")),  # uses the index; skips old sends
        or_(
            _ready(now, wall),
            (Send.state == "sending") & _past(Send.lease_until, wall),
            (Send.state == "queued") & (Campaign.state != "live"),
        ),
    )
    return list(
        session.scalars(
            select(Campaign)
            .where(Campaign.team_id == team_id, has_due_send)
            .order_by(Campaign.sent_at)
        )
    )


def next_quiet_hours_end(session: Session, team_id: str, after: datetime) -> datetime | None:
    """Return the next end of quiet hours.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    team_id : str
        Slack team.
    after : datetime
        Business time.

    Returns
    -------
    datetime or None
    """
    return session.scalar(
        select(func.min(Send.not_before)).where(
            Send.team_id == team_id, Send.state == "queued", Send.not_before > after
        )
    )


def _is_suppressed() -> ColumnElement[bool]:
    """Whether the customer unsubscribed from the channel of the send."""
    return exists().where(
        Suppression.customer_id == Send.customer_id,
        Suppression.channel == sql_consent_channel(),
    )


def _ready(now: Any, wall: Any, far: Any = None) -> ColumnElement[bool]:
    """Whether a send is due; the moments are datetimes or parameters of a statement."""
    return (
        (Send.state == "queued")
        & or_(Send.not_before.is_(None), Send.not_before <= now)
        & or_(Send.retry_at.is_(None), _past(Send.retry_at, wall, far))
        & _has_working_code()
    )


def _has_working_code() -> ColumnElement[bool]:
    """Whether the shop has confirmed the codes, if it makes them.

    Sending begins once it has all codes of the campaign, so that a refusal half-way leaves no
    customer with a code that was taken back.
    """
    makes_codes = exists().where(
        ShopDiscount.campaign_id == Send.campaign_id, ShopDiscount.state != "ready"
    )
    lacks_own = exists().where(
        Coupon.campaign_id == Send.campaign_id,
        Coupon.customer_id == Send.customer_id,
        ShopCode.code == Coupon.code,
        ShopCode.state != "made",
    )
    return ~makes_codes & ~lacks_own


def _past(
    moment: InstrumentedAttribute[datetime | None], wall: Any, far: Any = None
) -> ColumnElement[bool]:
    """Whether a moment is over.

    A moment too far ahead also counts; a wrong clock wrote it.
    """
    return or_(moment <= wall, moment > (wall + _TOO_FAR_AHEAD if far is None else far))


def _cancel(
    session: Session, campaign_id: str, code: CancelCode, *which: ColumnElement[bool]
) -> None:
    session.execute(
        update(Send)
        .where(Send.campaign_id == campaign_id, Send.state == "queued", *which)
        .values(state="cancelled", error=cancel_reason(code), error_code=code),
        execution_options=_NO_SYNC,
    )
