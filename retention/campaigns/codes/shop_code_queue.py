"""Queue the codes of a live campaign for the shop, and say how far they are.

The transaction that makes a campaign live commits the rows. Until then the shop has no code of it.
`shop_code_sync` carries them out.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import exists, func, or_, select, update

from retention import clock
from retention.campaigns.codes.coupons import OF_CUSTOMER
from retention.campaigns.lifecycle.states import CLOCK
from retention.connect import registry
from retention.db import Transaction
from retention.db.audit import record
from retention.db.insert import among, insert_missing
from retention.db.tables import Assignment, Campaign, Connection, Coupon, ShopCode, ShopDiscount
from retention.errors import BadInput
from retention.risk.strategy import CODED
from retention.text import gettext

_TERMS = ("action", "discount", "amount", "min_order", "currency", "category")
SHOP_MADE = ("coupon", "free_shipping")  # actions whose codes a shop can make
GUESTS = "guests"  # a further term of discounts whose customers have no account at the shop
CONFIRMED = ("made", "used")


@dataclass(frozen=True, slots=True)
class CodeProgress:
    """How many codes of a campaign the shop has confirmed.

    ``error_code`` is that of `retention.connect.contract`, or empty. ``failures`` counts failed
    attempts in a row.
    """

    shop: str
    made: int
    total: int
    refused: int
    is_ready: bool
    is_blocked: bool
    error_code: str
    failures: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether no e-mail goes out yet."""
        return not self.is_ready


def queue_codes(session: Transaction, campaign: Campaign, now: datetime) -> int:
    """Queue the issued codes of a campaign for the shop, if one is connected.

    Runs in the transaction that makes the campaign live. Repeating adds nothing.

    Returns: number of codes; 0 without a shop.
    """
    shop = registry.active_shop(session)
    if shop is None:
        return 0
    codes_by_offer: dict[tuple[tuple[Any, ...], bool], list[str]] = {}
    ends_at = campaign.sent_at
    for code, expires_at, customer, *values in session.execute(_issued_codes(campaign.id)):
        offer = tuple(values), registry.is_guest(shop.kind, customer)
        codes_by_offer.setdefault(offer, []).append(code)
        ends_at = expires_at
    for (terms, is_for_guests), codes in codes_by_offer.items():
        guests = {GUESTS: True} if is_for_guests else {}
        reference = _reference(campaign.id, (*terms, *guests))
        discount = ShopDiscount(
            team_id=session.settings.team_id,
            campaign_id=campaign.id,
            connection_id=shop.id,
            reference=reference,
            title=f"{campaign.name} ({reference})"[:255],
            terms=dict(zip(_TERMS, terms, strict=True)) | guests,
            first_code=codes[0],
            ends_at=ends_at,
            created_at=now,
        )
        session.add(discount)
        session.flush()
        row = {"team_id": session.settings.team_id, "discount_id": discount.id, "state": "wanted"}
        insert_missing(session, ShopCode, [{"code": code, **row} for code in codes])
    return sum(map(len, codes_by_offer.values()))


def unmade_actions(session: Transaction, actions: Collection[str]) -> tuple[str, ...]:
    """Return the actions with codes that the connected shop cannot make."""
    unmade = {*actions} & {*CODED} - {*SHOP_MADE}
    has_shop = bool(unmade) and registry.active_shop(session) is not None
    return tuple(sorted(unmade)) if has_shop else ()


def _issued_codes(campaign_id: str) -> Any:
    offer, numbers = Assignment.offer, ("discount", "amount", "min_order")
    columns = [
        offer[name].as_float() if name in numbers else offer[name].as_string() for name in _TERMS
    ]
    return (
        select(Coupon.code, Coupon.expires_at, Coupon.customer_id, *columns)
        .join(Assignment, OF_CUSTOMER)
        .where(
            Coupon.campaign_id == campaign_id,
            Coupon.state == "issued",
            offer["action"].as_string().in_(SHOP_MADE),
        )
        .order_by(Coupon.code)
    )


def _reference(campaign_id: str, terms: Sequence[Any]) -> str:
    return f"desk-{campaign_id}-{sha256(repr(terms).encode()).hexdigest()[:8]}"


def progress(session: Transaction, campaign_id: str) -> CodeProgress | None:
    """Return how far a campaign's codes are at the shop."""
    discounts = session.execute(
        select(ShopDiscount.state, ShopDiscount.error_code, ShopDiscount.attempts, Connection.name)
        .join(Connection, Connection.id == ShopDiscount.connection_id)
        .where(ShopDiscount.campaign_id == campaign_id)
    ).all()
    if not discounts:
        return None
    by_state = (
        select(ShopCode.state, func.count())
        .join(ShopDiscount, ShopDiscount.id == ShopCode.discount_id)
        .where(ShopDiscount.campaign_id == campaign_id)
        .group_by(ShopCode.state)
    )
    counts = dict(session.execute(by_state).tuples().all())
    states = {row.state for row in discounts}
    return CodeProgress(
        shop=discounts[0].name,
        made=sum(counts.get(state, 0) for state in CONFIRMED),
        total=sum(number for state, number in counts.items() if state != "deleted"),
        refused=counts.get("refused", 0),
        is_ready=states == {"ready"},
        is_blocked="blocked" in states,
        error_code=next((row.error_code for row in discounts if row.error_code), ""),
        failures=max(row.attempts for row in discounts),
    )


def waiting(session: Transaction, campaign_id: str) -> dict[str, Any] | None:
    """Return the progress as plain data while the e-mails wait for it.

    Returns: fields of `CodeProgress`. None if nothing waits.
    """
    state = progress(session, campaign_id)
    return asdict(state) if state is not None and state.is_waiting else None


def require_made(session: Transaction, campaign: Campaign) -> None:
    """Check that the shop has all codes of a campaign."""
    state = progress(session, campaign.id)
    if state is not None and state.is_waiting:
        raise BadInput(
            gettext(
                "The codes of campaign {name!r} do not work at the checkout yet: {shop} has made "
                "{made:,} of {total:,}. Download the file when the campaign's message no longer "
                "says that it waits."
            ).format(name=campaign.name, shop=state.shop, made=state.made, total=state.total)
        )


def end_waits(session: Transaction, campaign_id: str) -> None:
    """Make the next attempt due: a stop does not wait until a retry of the making is due."""
    of_campaign = update(ShopDiscount).where(ShopDiscount.campaign_id == campaign_id)
    session.change(of_campaign.values(retry_at=None))


def unmade_codes(session: Transaction, campaign_id: str) -> set[str]:
    """Return codes that the shop is to have and has not, e.g. because it refused them."""
    unmade = (
        select(ShopCode.code)
        .join(ShopDiscount, ShopDiscount.id == ShopCode.discount_id)
        .where(ShopDiscount.campaign_id == campaign_id, ShopCode.state.not_in(CONFIRMED))
    )
    return set(session.scalars(unmade))


def shop_of(session: Transaction, campaign_id: str) -> Connection | None:
    """Return the connection of the shop that makes a campaign's codes."""
    shop = (
        select(Connection)
        .join(ShopDiscount, ShopDiscount.connection_id == Connection.id)
        .where(ShopDiscount.campaign_id == campaign_id)
    )
    return session.scalar(shop.limit(1))


def customers_to_make(session: Transaction, campaign_id: str) -> list[str]:
    """Return the customers whose codes the shop has not confirmed."""
    customers = (
        select(Coupon.customer_id)
        .join(ShopCode, ShopCode.code == Coupon.code)
        .where(Coupon.campaign_id == campaign_id, ShopCode.state == "wanted")
    )
    return list(session.scalars(customers))


def used_codes(session: Transaction, campaign_id: str) -> int:
    """Count the codes of a stopped campaign that were used and stay at the shop."""
    used = (
        select(func.count())
        .select_from(ShopCode)
        .join(Coupon, Coupon.code == ShopCode.code)
        .where(
            Coupon.campaign_id == campaign_id,
            or_(ShopCode.state == "used", Coupon.state == "redeemed"),
        )
    )
    return session.scalar(used) or 0


def due_campaigns(session: Transaction, now: datetime) -> list[Campaign]:
    """Return campaigns with codes to make or to delete at an active shop."""
    wall = clock.wall()
    to_make = (
        (Campaign.state == "live")
        & (Coupon.state == "issued")
        & or_(ShopCode.state == "wanted", ShopDiscount.state == "blocked")
    )
    # The shop may have the codes, as far as we know.
    to_delete = (Coupon.state == "void") & ShopCode.state.in_(("wanted", "made"))
    is_due = exists().where(
        ShopDiscount.campaign_id == Campaign.id,
        ShopDiscount.ends_at > now,
        or_(ShopDiscount.retry_at.is_(None), ShopDiscount.retry_at <= wall),
        Connection.id == ShopDiscount.connection_id,
        Connection.state == "active",
        ShopCode.discount_id == ShopDiscount.id,
        Coupon.code == ShopCode.code,
        or_(to_make, to_delete),
    )
    in_state = Campaign.state.in_(("live", "measuring", "closed", "cancelled"))
    due = select(Campaign).where(Campaign.team_id == session.settings.team_id, in_state, is_due)
    return list(session.scalars(due.order_by(Campaign.sent_at)))


_ROWS = 5_000  # per statement


def mark(
    session: Transaction,
    discount: ShopDiscount,
    codes: Collection[str],
    state: str,
    error: str | None = None,
) -> None:
    """Store the state of codes at the shop, with one audit entry for those that change.

    `state`: ``made``, ``used``, ``deleted`` or ``refused``.
    """
    if changed := move(session, codes, state, ShopCode.state != state, error=error):
        details = {"codes": changed, "connection": discount.connection_id}
        action, campaign_id = f"shop_codes.{state}", discount.campaign_id
        record(session, CLOCK, action, campaign_id, clock.now(), details)


def move(
    session: Transaction, codes: Collection[str], state: str, *where: Any, error: str | None = None
) -> int:
    """Set the state of some codes, and return how many changed."""
    ordered, changed = sorted(codes), 0
    for start in range(0, len(ordered), _ROWS):
        batch = among(session, ShopCode.code, ordered[start : start + _ROWS])
        moved = update(ShopCode).where(batch, *where)
        changed += session.change(moved.values(state=state, error=error))
    return changed
