"""Compare the codes at a shop with ours, and queue what is safe to repair.

Codes of others are counted and never touched.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from retention.campaigns.coupons import normalize_code
from retention.campaigns.shop_code_states import move
from retention.campaigns.shop_code_sync import Fenced
from retention.connect.contract import DiscountCode, MakesCodes
from retention.db.tables import Campaign, Coupon, ShopCode, ShopDiscount

AFTER_END = timedelta(days=2)  # ended discounts are still compared
_NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between a shop's codes and ours.

    Parameters
    ----------
    compared : int
        Codes that were compared.
    missing : int
        Codes that the shop lacks; they are made again.
    extra : int
        Codes of ours that must not exist; they are deleted.
    foreign : int
        Codes in our discounts that are not ours; they stay.
    """

    compared: int = 0
    missing: int = 0
    extra: int = 0
    foreign: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether there is no difference."""
        return not (self.missing or self.extra or self.foreign)

    def plus(self, other: "Differences") -> "Differences":
        """Return the sum of both."""
        return Differences(
            self.compared + other.compared,
            self.missing + other.missing,
            self.extra + other.extra,
            self.foreign + other.foreign,
        )


def compare(fenced: Fenced, maker: MakesCodes, connection_id: int, now: datetime) -> Differences:
    """Compare all present codes of a shop.

    Parameters
    ----------
    fenced : callable
        Opens a transaction of this attempt.
    maker : MakesCodes
        The shop.
    connection_id : int
        Its connection.
    now : datetime
        Business time.

    Returns
    -------
    Differences

    Raises
    ------
    ConnectorError
        The shop does not answer. What was compared before stays queued.
    """
    with fenced() as session:
        ids = discounts_to_compare(session, connection_id, now)
    total = Differences()
    for discount_id in ids:
        total = total.plus(_compare_one(fenced, maker, discount_id))
    return total


def discounts_to_compare(session: Session, connection_id: int, now: datetime) -> list[int]:
    """Return the ids of a shop's discounts that have not ended long ago.

    Parameters
    ----------
    session : Session
        Open session.
    connection_id : int
        The shop's connection.
    now : datetime
        Business time.

    Returns
    -------
    list of int
    """
    discounts = select(ShopDiscount.id).where(
        ShopDiscount.connection_id == connection_id, ShopDiscount.ends_at > now - AFTER_END
    )
    return list(session.scalars(discounts.order_by(ShopDiscount.id)))


def _compare_one(fenced: Fenced, maker: MakesCodes, discount_id: int) -> Differences:
    with fenced() as session:
        row = session.get_one(ShopDiscount, discount_id)
        state = session.scalar(select(Campaign.state).where(Campaign.id == row.campaign_id))
        if row.batch or row.busy_until or state == "sending":  # a job is at work on it
            return Differences()
        ours = _our_codes(session, discount_id)
    platform_id = row.platform_id or maker.find_discount(
        row.reference, DiscountCode(row.first_code, ours[row.first_code][2])
    )
    present = (
        {normalize_code(code) or code for code, _ in maker.codes(platform_id)}
        if (platform_id)
        else set()
    )
    missing = {
        code
        for code, (known, coupon, _) in ours.items()
        if known == "made" and coupon == "issued" and code not in present
    }
    unexpected = {
        code
        for code in present & ours.keys()
        if ours[code][0] == "deleted" or (ours[code][0] != "used" and ours[code][1] == "void")
    }
    # An answer came too late, or the shop took back a refusal.
    confirmed = {
        code
        for code in present & ours.keys()
        if ours[code][0] in ("wanted", "refused") and ours[code][1] != "void"
    }
    with fenced() as session:
        move(session, missing, "wanted", ShopCode.state == "made")
        is_not_made = ShopCode.state.in_(("deleted", "wanted", "refused"))
        move(session, unexpected, "made", is_not_made)  # deleted next
        move(session, confirmed, "made", is_not_made)
        if platform_id and not present and missing:  # somebody deleted the discount
            gone = update(ShopDiscount).where(ShopDiscount.id == discount_id)
            session.execute(gone.values(platform_id=None), execution_options=_NO_SYNC)
        elif platform_id and row.platform_id is None and present:
            known = update(ShopDiscount).where(ShopDiscount.id == discount_id)
            session.execute(known.values(platform_id=platform_id), execution_options=_NO_SYNC)
    return Differences(len(ours), len(missing), len(unexpected), len(present - ours.keys()))


def _our_codes(session: Session, discount_id: int) -> dict[str, tuple[str, str, str]]:
    rows = session.execute(
        select(ShopCode.code, ShopCode.state, Coupon.state, Coupon.customer_id)
        .join(Coupon, Coupon.code == ShopCode.code)
        .where(ShopCode.discount_id == discount_id)
    )
    return {code: (known, coupon, customer) for code, known, coupon, customer in rows}
