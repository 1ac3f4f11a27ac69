"""Generate and manage single-use coupon codes.

A code is readable aloud, has a check character, cannot be guessed and belongs to one customer of
one campaign.
"""

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
RANDOM_CHARACTERS, GROUP_SIZE = 11, 4  # 55 random bits and a check character, in groups of four
_CHARACTER_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})
BATCH_CUSTOMERS = 10_000  # per transaction


def new_code() -> str:
    """Return a new code like ``7KQ2-M9ZD-4HT6``."""
    bits = secrets.randbits(5 * RANDOM_CHARACTERS)
    body = "".join(ALPHABET[bits >> 5 * place & 31] for place in range(RANDOM_CHARACTERS))
    return _group(body + check_character(body))


def check_character(body: str) -> str:
    """Return the check character of a code body.

    It makes the weighted sum over GF(32) zero. Each position has its own non-zero weight, so any
    single wrong character and any swap of two is detected.
    """
    total = 0
    for character in body:
        total = _times_x(total ^ _CHARACTER_VALUES[character])
    return ALPHABET[total]


def normalize_code(text: str) -> str | None:
    """Normalize a typed code; None if it cannot be one.

    Accepts lower case, spaces, dashes and the look-alikes O, I and L.
    """
    plain = re.sub(r"[\s\-\u2010-\u2015]", "", text).upper().translate(_LOOK_ALIKES)
    if len(plain) != RANDOM_CHARACTERS + 1 or not set(plain) <= _CHARACTER_VALUES.keys():
        return None
    return _group(plain) if check_character(plain[:-1]) == plain[-1] else None


def reserve_codes(
    session: Session,
    team_id: str,
    campaign_id: str,
    expires_at: datetime,
    limit: int = BATCH_CUSTOMERS,
) -> int:
    """Reserve codes for treated customers without one.

    Safe to repeat and to run concurrently, because customer and code are unique.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    team_id : str
        Slack team.
    campaign_id : str
        Campaign id.
    expires_at : datetime
        Provisional expiry.
    limit : int, optional
        Customers per call.

    Returns
    -------
    int
        Customers still without a code. Repeat until it is 0.
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
    """Return the last valid second of codes.

    Codes end with a day of the shop's calendar, as the customer reads it.

    Parameters
    ----------
    sent_at : datetime
        Moment of sending.
    days : int
        Days of validity.
    zone : ZoneInfo
        The shop's time zone.

    Returns
    -------
    datetime
        In UTC.
    """
    last_day = sent_at.astimezone(zone).date() + timedelta(days=days)
    return datetime.combine(last_day, time(23, 59, 59), zone).astimezone(UTC)


def extend_codes(session: Session, campaign_id: str, expires_at: datetime) -> None:
    """Change the expiry of reserved codes.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    expires_at : datetime
        New expiry.
    """
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


def issue_codes(session: Session, campaign_id: str, at: datetime) -> int:
    """Issue the reserved codes.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    at : datetime
        Moment, timezone-aware.

    Returns
    -------
    int
        Issued codes of the campaign.
    """
    session.execute(
        update(Coupon)
        .where(Coupon.campaign_id == campaign_id, Coupon.state == "reserved")
        .values(state="issued", issued_at=at),
        execution_options={"synchronize_session": False},
    )
    issued = select(func.count()).where(Coupon.campaign_id == campaign_id, Coupon.state == "issued")
    return session.scalar(issued) or 0


def void_codes(session: Session, campaign_id: str) -> int:
    """Void all codes that are not redeemed.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    int
        Number of voided codes.
    """
    update_result = session.execute(
        update(Coupon)
        .where(Coupon.campaign_id == campaign_id, Coupon.state.in_(("reserved", "issued")))
        .values(state="void"),
        execution_options={"synchronize_session": False},
    )
    return int(update_result.rowcount)  # type: ignore[attr-defined]


def _times_x(value: int) -> int:
    """Multiply by x in GF(32) = GF(2)[x] / (x⁵ + x² + 1)."""
    return (value << 1) ^ (37 if value & 16 else 0)


def _group(plain: str) -> str:
    return "-".join(plain[start : start + GROUP_SIZE] for start in range(0, len(plain), GROUP_SIZE))
