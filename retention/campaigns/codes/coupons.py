"""Generate and manage single-use coupon codes.

A code is readable aloud, has a check character, cannot be guessed and belongs to one customer of
one campaign.
"""

import re
import secrets
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update

from retention.db import Transaction
from retention.db.insert import insert_missing
from retention.db.tables import Assignment, Coupon
from retention.risk.strategy import CODED

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
RANDOM_CHARACTERS, GROUP_SIZE = 11, 4  # 55 random bits and a check character, in groups of four
_CHARACTER_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})
BATCH_CUSTOMERS = 10_000  # per transaction
# Joins coupons and assignments.
OF_CUSTOMER = (Coupon.campaign_id == Assignment.campaign_id) & (
    Coupon.customer_id == Assignment.customer_id
)


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
    session: Transaction, campaign_id: str, expires_at: datetime, limit: int = BATCH_CUSTOMERS
) -> int:
    """Reserve codes for treated customers without one.

    Safe to repeat and to run concurrently, because customer and code are unique.

    Returns: customers still without a code. Repeat until it is 0.
    """
    missing = (
        select(Assignment.customer_id)
        .outerjoin(Coupon, OF_CUSTOMER)
        .where(
            Assignment.campaign_id == campaign_id,
            Assignment.arm == "treatment",
            Coupon.code.is_(None),
            Assignment.offer["action"].as_string().in_(CODED),
        )
    )
    shared = {
        "team_id": session.settings.team_id,
        "campaign_id": campaign_id,
        "state": "reserved",
        "expires_at": expires_at,
    }
    customers = session.scalars(missing.order_by(Assignment.customer_id).limit(limit))
    rows = [{"code": new_code(), "customer_id": customer, **shared} for customer in customers]
    insert_missing(session, Coupon, rows)
    return session.scalar(select(func.count()).select_from(missing.subquery())) or 0


def valid_until(sent_at: datetime, days: int, zone: ZoneInfo) -> datetime:
    """Return the last valid second of codes.

    Codes end with a day of the shop's calendar, as the customer reads it.
    """
    last_day = sent_at.astimezone(zone).date() + timedelta(days=days)
    return datetime.combine(last_day, time(23, 59, 59), zone).astimezone(UTC)


def extend_codes(session: Transaction, campaign_id: str, expires_at: datetime) -> None:
    """Change the expiry of reserved codes."""
    reserved = (Coupon.campaign_id == campaign_id, Coupon.state == "reserved")
    changed = update(Coupon).where(*reserved, Coupon.expires_at != expires_at)
    session.change(changed.values(expires_at=expires_at))


def issue_codes(session: Transaction, campaign_id: str, at: datetime) -> int:
    """Issue the reserved codes.

    `at`: moment, timezone-aware.
    """
    reserved = (Coupon.campaign_id == campaign_id, Coupon.state == "reserved")
    session.change(update(Coupon).where(*reserved).values(state="issued", issued_at=at))
    issued = select(func.count()).where(Coupon.campaign_id == campaign_id, Coupon.state == "issued")
    return session.scalar(issued) or 0


def void_codes(session: Transaction, campaign_id: str) -> int:
    """Void all codes that are not redeemed."""
    unused = (Coupon.campaign_id == campaign_id, Coupon.state.in_(("reserved", "issued")))
    return session.change(update(Coupon).where(*unused).values(state="void"))


def _times_x(value: int) -> int:
    """Multiply by x in GF(32) = GF(2)[x] / (x⁵ + x² + 1)."""
    return (value << 1) ^ (37 if value & 16 else 0)


def _group(plain: str) -> str:
    return "-".join(plain[start : start + GROUP_SIZE] for start in range(0, len(plain), GROUP_SIZE))
