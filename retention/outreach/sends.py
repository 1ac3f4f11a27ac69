"""Queue, claim and settle the e-mails of a campaign.

SQL only, in the caller's session. A send is claimed and committed before it is handed over, and
settled afterwards. A send left claimed by a dead process is uncertain. It is repeated only if the
server drops duplicates.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, bindparam, case, exists, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from retention import clock
from retention.db import Transaction, tables
from retention.db.tables import Assignment, Campaign, Send
from retention.outreach.adapter import MESSAGE_REFUSED, CancelCode, Verdict, sql_consent_channel
from retention.text import gettext

LEASE = timedelta(minutes=4)  # longer than any attempt takes
MAX_ATTEMPTS = 12  # over five hours; spam filters may be down for a while
BACK_OFF = timedelta(seconds=30)  # after the first attempt; doubled after each further one
MAX_BACK_OFF = timedelta(hours=1)
_TOO_FAR_AHEAD = timedelta(days=1)  # longer than any back-off or pause
MANUAL_CHANNELS = ("csv", "call")  # a person downloads a file
POSSIBLY_DELIVERED = ("sending", "sent", "held")  # delivered, or maybe
CONTACT_STATES = ("queued", *POSSIBLY_DELIVERED)  # delivered, maybe, or soon


def queue_sends(session: Transaction, campaign: Campaign, channel: str, now: datetime) -> None:
    """Queue one send per treated customer, or per customer with a variant if it tests some.

    Runs in the transaction that makes the campaign live, and once a test is decided. Repeating adds
    nothing.

    `channel`: channel of the sends; calls are queued as ``call``. Text messages have their own.
    """
    columns = ["team_id", "campaign_id", "customer_id", "channel", "state", "attempts", "queued_at"]
    is_call = Assignment.offer["action"].as_string() == "call"
    send_channel = case((is_call, literal("call")), else_=literal(channel))
    own = Assignment.team_id, Assignment.campaign_id, Assignment.customer_id
    begin = literal("queued"), literal(0), literal(now, Send.queued_at.type)
    is_queued = exists().where(
        Send.campaign_id == campaign.id, Send.customer_id == Assignment.customer_id
    )
    treated = [Assignment.campaign_id == campaign.id, Assignment.arm == "treatment"]
    treated += [or_(Assignment.variant.is_not(None), is_call)] if campaign.body.get("test") else []
    rows = select(*own, send_channel, *begin).where(*treated, ~is_queued)
    rows = rows.order_by(Assignment.customer_id)
    session.execute(sa.insert(Send).from_select(columns, rows, include_defaults=False))


def claim(session: Transaction, campaign_id: str, job_id: str, now: datetime) -> Send | None:
    """Claim the next due send."""
    wall = clock.wall()
    values = {"of_campaign": campaign_id, "of_job": job_id, "at": now, "wall": wall}
    values |= {"far": wall + _TOO_FAR_AHEAD, "lease": wall + LEASE}
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
        claimed = sa.update(Send).where(Send.id == first, Send.state == "queued")
        values: dict[str, Any] = {"job_id": bindparam("of_job"), "lease_until": bindparam("lease")}
        values |= {"state": "sending", "attempts": Send.attempts + 1, "retry_at": None}
        options = {"synchronize_session": False, "populate_existing": True}
        return claimed.values(values).returning(Send).execution_options(**options)

    # Refused sends come last, so a bad address does not block the others.
    chosen = select(Send.id).where(*is_due)
    return (
        claim_first(chosen.where(Send.error.is_(None)).order_by(Send.id)),
        claim_first(chosen.where(Send.error.is_not(None)).order_by(Send.retry_at, Send.id)),
    )


def settle(
    session: Transaction, send: Send, verdict: Verdict, now: datetime, *, may_repeat: bool
) -> str:
    """Store the result of an attempt unless already settled."""
    wall = clock.wall()
    error = verdict.detail
    if verdict.code == MESSAGE_REFUSED:
        error = gettext("the message was refused: {detail}").format(detail=error)
    values: dict[str, Any] = {"error": error or None, "error_code": verdict.code}
    if verdict.state == "sent":
        values |= {"state": "sent", "message_id": verdict.message_id, "sent_at": now}
    elif verdict.state == "again" or (verdict.state == "doubtful" and may_repeat):
        given_up = send.attempts >= MAX_ATTEMPTS
        state = "queued" if not given_up else "failed" if verdict.state == "again" else "held"
        values |= {"state": state, "retry_at": wall + back_off(send.attempts)}
    else:
        values["state"] = "held" if verdict.state == "doubtful" else verdict.state
    is_own_claim = *_is_of(send, "sending"), Send.attempts == send.attempts
    _change(session, *is_own_claim, **values, lease_until=None)
    return str(values["state"])


def release_claim(
    session: Transaction,
    send: Send,
    *,
    not_before: datetime | None = None,
    error: str | None = None,
) -> None:
    """Release a claim without counting the attempt."""
    values: dict[str, Any] = {"state": "queued", "attempts": Send.attempts - 1}
    values |= {"lease_until": None, "error": error, "error_code": None, "not_before": not_before}
    retry_at = None if not_before else clock.wall() + BACK_OFF
    _change(session, *_is_of(send, "sending"), **values, retry_at=retry_at)


def undo_attempt(session: Transaction, send: Send) -> None:
    """Undo a settled attempt that was not the e-mail's fault."""
    is_settled = *_is_of(send, "queued", "failed"), Send.attempts == send.attempts
    values = {"state": "queued", "attempts": Send.attempts - 1}
    _change(session, *is_settled, **values, retry_at=clock.wall() + BACK_OFF)


def back_off(attempts: int) -> timedelta:
    """Return the wait after n attempts: 30 s, doubled up to an hour."""
    return min(BACK_OFF * 2 ** (attempts - 1), MAX_BACK_OFF)


def close_if_over(session: Transaction, campaign_id: str) -> bool:
    """Close the sends of a campaign that is not live.

    Queued e-mails are cancelled, and sends left claimed by a dead process are held. Repeat it: an
    attempt running during the stop may queue its send again.
    """
    over = session.scalar(select(Campaign.state).where(Campaign.id == campaign_id)) != "live"
    if over:
        recover_lost(session, campaign_id, may_repeat=False)
        cancel_unsent(session, campaign_id, "campaign_over")
    return over


def recover_lost(session: Transaction, campaign_id: str, *, may_repeat: bool) -> int:
    """Settle sends left claimed by dead processes."""
    lost = *_in_state(campaign_id, "sending"), _past(Send.lease_until, clock.wall())
    error = gettext("its process died before it learnt whether the copy was accepted")
    state = "queued" if may_repeat else "held"
    return _change(session, *lost, state=state, lease_until=None, error=error)


def postpone(
    session: Transaction, campaign_id: str, customer_ids: Iterable[str], until: datetime
) -> None:
    """Postpone queued sends until quiet hours end."""
    ids = sorted(customer_ids)
    for start in range(0, len(ids), 500):
        chosen = Send.customer_id.in_(ids[start : start + 500])
        _change(session, *_in_state(campaign_id, "queued"), chosen, not_before=until)


def pause(session: Transaction, campaign_id: str, until: datetime) -> None:
    """Postpone all queued sends of a campaign.

    `until`: real time before which the server accepts nothing.
    """
    later = or_(Send.retry_at.is_(None), Send.retry_at < until)
    _change(session, *_in_state(campaign_id, "queued"), later, retry_at=until)


def cancel_sends_to(
    session: Transaction, campaign_id: str, customer_ids: Iterable[str], code: CancelCode
) -> None:
    """Cancel the queued sends of some customers."""
    ids = sorted(customer_ids)
    for start in range(0, len(ids), 500):
        cancel(session, campaign_id, code, Send.customer_id.in_(ids[start : start + 500]))


def cancel_suppressed(session: Transaction, campaign_id: str) -> None:
    """Cancel the queued sends of unsubscribed customers."""
    cancel(session, campaign_id, "unsubscribed", _is_suppressed())


def cancel(
    session: Transaction, campaign_id: str, code: CancelCode, *which: ColumnElement[bool]
) -> None:
    """Cancel the queued sends of a campaign, or some of them."""
    queued, error = _in_state(campaign_id, "queued"), cancel_reason(code)
    _change(session, *queued, *which, state="cancelled", error=error, error_code=code)


def cancel_unsent(session: Transaction, campaign_id: str, code: CancelCode) -> None:
    """Cancel queued e-mails; sends in files keep waiting.

    Codes of a file may have gone out another way.
    """
    cancel(session, campaign_id, code, Send.channel.not_in(MANUAL_CHANNELS))


def mark_file_taken(
    session: Transaction, campaign_id: str, job_id: str, now: datetime, channel: str = "csv"
) -> None:
    """Mark the sends of a downloaded file as sent.

    `channel`: ``csv`` (codes) or ``call``.
    """
    waiting = *_in_state(campaign_id, "queued"), Send.channel == channel
    _change(session, *waiting, state="sent", sent_at=now, job_id=job_id, attempts=1)


def cancel_reason(code: str | None) -> str | None:
    """Return the sentence for a cancellation code; None for other codes."""
    return {
        "no_consent": gettext("no consent any more"),
        "unsubscribed": gettext("unsubscribed since"),
        "same_number": gettext("another customer of the campaign has the same phone number"),
        "campaign_stopped": gettext("the campaign was stopped"),
        "campaign_over": gettext("the campaign is over"),
        "window_over": gettext("not sent before the window was over"),
        "returned": gettext("ordered again before the test was decided"),
        "excluded": gettext("excluded before the test was decided"),
        "erased": gettext("erased"),
    }.get(code or "")


def release_held(
    session: Transaction, campaign_id: str, again: bool, send_id: int | None = None
) -> int:
    """Settle held sends by a person's decision.

    `again`: queue them again with all attempts; a customer may get two. Otherwise they count as
    sent.
    """
    chosen = [] if send_id is None else [Send.id == send_id]
    values: dict[str, Any] = (
        {"state": "queued", "attempts": 0, "retry_at": None, "error": None, "error_code": None}
        if again
        else {"state": "sent", "sent_at": Send.queued_at}
    )
    return _change(session, *_in_state(campaign_id, "held"), *chosen, **values)


def due_campaigns(session: Transaction, team_id: str, now: datetime) -> list[Campaign]:
    """Return campaigns that need a delivery job.

    They have a due send, a send left claimed by a dead process, or a queued send after their end.
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
    due = select(Campaign).where(Campaign.team_id == team_id, has_due_send)
    return list(session.scalars(due.order_by(Campaign.sent_at)))


def next_quiet_hours_end(session: Transaction, team_id: str, after: datetime) -> datetime | None:
    waiting = Send.team_id == team_id, Send.state == "queued", Send.not_before > after
    return session.scalar(select(func.min(Send.not_before)).where(*waiting))


def _is_suppressed() -> ColumnElement[bool]:
    """Whether the customer unsubscribed from the channel of the send."""
    left = tables.Suppression
    return exists().where(
        left.customer_id == Send.customer_id, left.channel == sql_consent_channel()
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
    discount, coupon, code = tables.ShopDiscount, tables.Coupon, tables.ShopCode
    makes_codes = exists().where(
        discount.campaign_id == Send.campaign_id, discount.state != "ready"
    )
    lacks_own = exists().where(
        coupon.campaign_id == Send.campaign_id,
        coupon.customer_id == Send.customer_id,
        code.code == coupon.code,
        code.state != "made",
    )
    return ~makes_codes & ~lacks_own


def _past(
    moment: InstrumentedAttribute[datetime | None], wall: Any, far: Any = None
) -> ColumnElement[bool]:
    """Whether a moment is over. A moment too far ahead also counts; a wrong clock wrote it."""
    return or_(moment <= wall, moment > (wall + _TOO_FAR_AHEAD if far is None else far))


def _in_state(campaign_id: str, state: str) -> tuple[ColumnElement[bool], ...]:
    return Send.campaign_id == campaign_id, Send.state == state


def _is_of(send: Send, *states: str) -> tuple[ColumnElement[bool], ...]:
    """Whether a send still belongs to the job that claimed it."""
    return Send.id == send.id, Send.state.in_(states), Send.job_id == send.job_id


def _change(session: Transaction, *which: ColumnElement[bool], **values: Any) -> int:
    """Change sends; return their number."""
    return session.change(sa.update(Send).where(*which).values(values))
