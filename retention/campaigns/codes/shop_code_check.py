"""Compare the codes at a shop with ours, and queue what is safe to repair.

Codes of others are counted and never touched.
"""

from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from operator import add

from sqlalchemy import select

from retention.campaigns.codes.shop_code_queue import move
from retention.campaigns.codes.shop_code_sync import Fenced, listed_codes, set_discount
from retention.connect.contract import DiscountCode, MakesCodes
from retention.db import Transaction
from retention.db.tables import Campaign, Coupon, ShopCode, ShopDiscount

AFTER_END = timedelta(days=2)  # ended discounts are still compared


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between a shop's codes and ours."""

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
        return Differences(*map(add, astuple(self), astuple(other)))


def compare(fenced: Fenced, maker: MakesCodes, connection_id: int, now: datetime) -> Differences:
    """Compare all present codes of a shop.

    Raises `ConnectorError`: the shop does not answer. What was compared before stays queued.
    """
    with fenced() as session:
        ids = discounts_to_compare(session, connection_id, now)
    total = Differences()
    for discount_id in ids:
        total = total.plus(_compare_one(fenced, maker, discount_id))
    return total


def discounts_to_compare(session: Transaction, connection_id: int, now: datetime) -> list[int]:
    """Return the ids of a shop's discounts that have not ended long ago."""
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
    present = listed_codes(maker, platform_id).keys() if platform_id else set[str]()
    missing, unexpected, confirmed = set(), set(), set()
    for code, (known, coupon, _) in ours.items():
        if code not in present:
            if known == "made" and coupon == "issued":
                missing.add(code)
        elif known == "deleted" or (known != "used" and coupon == "void"):
            unexpected.add(code)
        elif known in ("wanted", "refused"):
            # An answer came too late, or the shop took back a refusal.
            confirmed.add(code)
    with fenced() as session:
        move(session, missing, "wanted", ShopCode.state == "made")
        is_not_made = ShopCode.state.in_(("deleted", "wanted", "refused"))
        move(session, unexpected, "made", is_not_made)  # deleted next
        move(session, confirmed, "made", is_not_made)
        if platform_id and not present and missing:  # somebody deleted the discount
            set_discount(session, discount_id, platform_id=None)
        elif platform_id and row.platform_id is None and present:
            set_discount(session, discount_id, platform_id=platform_id)
    return Differences(len(ours), len(missing), len(unexpected), len(present - ours.keys()))


def _our_codes(session: Transaction, discount_id: int) -> dict[str, tuple[str, str, str]]:
    rows = session.execute(
        select(ShopCode.code, ShopCode.state, Coupon.state, Coupon.customer_id)
        .join(Coupon, Coupon.code == ShopCode.code)
        .where(ShopCode.discount_id == discount_id)
    )
    return {code: (known, coupon, customer) for code, known, coupon, customer in rows}
