"""Single-use codes: readable aloud, checked for typing errors, unguessable, bound to one customer of one campaign."""

import re
import secrets
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from retention.db.insert import insert_missing
from retention.db.tables import Assignment, Coupon
from retention.risk.strategy import CODED

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
RANDOM, GROUP = 11, 4  # 55 random bits and a check character, in groups of four
_VALUE = {character: value for value, character in enumerate(ALPHABET)}
_LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})
CHUNK = 10_000  # a transaction


def new_code() -> str:
    """A fresh code like ``7KQ2-M9ZD-4HT6``."""
    drawn = secrets.randbits(5 * RANDOM)
    body = "".join(ALPHABET[drawn >> 5 * place & 31] for place in range(RANDOM))
    return _grouped(body + check_character(body))


def check_character(body: str) -> str:
    """The character that makes a code's weighted sum over GF(32) vanish.

    Every position has its own non-zero weight, so that any single wrong character and any two that were swapped
    change the sum: both are caught always, not mostly.
    """
    total = 0
    for character in body:
        total = _times_x(total ^ _VALUE[character])
    return ALPHABET[total]


def normal(text: str) -> str | None:
    """A code as a person typed it, in its one spelling; None where it cannot be one.

    Lower case, spaces, dashes and the look-alikes O, I and L are forgiven.
    """
    plain = re.sub(r"[\s\-\u2010-\u2015]", "", text).upper().translate(_LOOK_ALIKES)
    if len(plain) != RANDOM + 1 or not set(plain) <= _VALUE.keys():
        return None
    return _grouped(plain) if check_character(plain[:-1]) == plain[-1] else None


def reserve(
    session: Session, team_id: str, campaign_id: str, expires_at: datetime, limit: int = CHUNK
) -> int:
    """Reserve codes for up to ``limit`` customers in treatment who have none yet.

    Safe to run again and again, and by two at once: a customer has one code by constraint, and so has a code.

    Returns
    -------
    int
        How many still have none: call again until it is 0.
    """
    missing = (
        select(Assignment.customer_id)
        .outerjoin(
            Coupon,
            (Coupon.campaign_id == Assignment.campaign_id)
            & (Coupon.customer_id == Assignment.customer_id),
        )
        .where(
            Assignment.campaign_id == campaign_id,
            Assignment.arm == "treatment",
            Coupon.code.is_(None),
        )
        .where(Assignment.offer["action"].as_string().in_(CODED))
    )
    rows = [
        {
            "code": new_code(),
            "team_id": team_id,
            "campaign_id": campaign_id,
            "customer_id": customer_id,
            "state": "reserved",
            "expires_at": expires_at,
        }
        for customer_id in session.scalars(missing.order_by(Assignment.customer_id).limit(limit))
    ]
    insert_missing(session, Coupon, rows)
    return session.scalar(select(func.count()).select_from(missing.subquery())) or 0


def valid_until(sent_at: datetime, days: int, zone: ZoneInfo) -> datetime:
    """The last second in which codes hold: of a day, by the shop's calendar, for that is what their customers are told."""
    last = sent_at.astimezone(zone).date() + timedelta(days=days)
    return datetime.combine(last, time(23, 59, 59), zone).astimezone(UTC)


def extend(session: Session, campaign_id: str, expires_at: datetime) -> None:
    """Let what is reserved hold until then: it is issued later than it was reserved for."""
    session.execute(
        update(Coupon)
        .where(
            Coupon.campaign_id == campaign_id,
            Coupon.state == "reserved",
            Coupon.expires_at != expires_at,
        )
        .values(expires_at=expires_at),
        execution_options={"synchronize_session": False},
    )


def issue(session: Session, campaign_id: str, at: datetime) -> int:
    """Issue what is reserved; what is issued already stays as it is. Returns how many are issued in all."""
    session.execute(
        update(Coupon)
        .where(Coupon.campaign_id == campaign_id, Coupon.state == "reserved")
        .values(state="issued", issued_at=at),
        execution_options={"synchronize_session": False},
    )
    issued = select(func.count()).where(Coupon.campaign_id == campaign_id, Coupon.state == "issued")
    return session.scalar(issued) or 0


def void(session: Session, campaign_id: str) -> int:
    """Make every code of a stopped campaign that is not redeemed worthless; returns how many."""
    done = session.execute(
        update(Coupon)
        .where(Coupon.campaign_id == campaign_id, Coupon.state.in_(("reserved", "issued")))
        .values(state="void"),
        execution_options={"synchronize_session": False},
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def _times_x(value: int) -> int:
    """Multiply by x in GF(32) = GF(2)[x] / (x⁵ + x² + 1)."""
    return (value << 1) ^ (37 if value & 16 else 0)


def _grouped(plain: str) -> str:
    return "-".join(plain[start : start + GROUP] for start in range(0, len(plain), GROUP))
