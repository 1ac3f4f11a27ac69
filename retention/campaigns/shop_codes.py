"""Queue the codes of a live campaign for the shop, and say how far they are.

The transaction that makes a campaign live commits the rows. Until then the shop has no code of it.
`shop_code_sync` carries them out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from retention import clock
from retention.connect import code_makers
from retention.db.insert import insert_missing
from retention.db.tables import Assignment, Campaign, Connection, Coupon, ShopCode, ShopDiscount
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

_TERMS = ("action", "discount", "amount", "min_order", "currency", "category")
GUESTS = "guests"  # a further term of discounts whose customers have no account at the shop
CONFIRMED = ("made", "used")
# Codes that the shop may have, as far as we know.
POSSIBLE = ("wanted", "made")


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


def queue_codes(session: Session, settings: Settings, campaign: Campaign, now: datetime) -> int:
    """Queue the issued codes of a campaign for the shop, if one is connected.

    Runs in the transaction that makes the campaign live. Repeating adds nothing.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign : Campaign
        The campaign.
    now : datetime
        Business time, from which the codes are valid.

    Returns
    -------
    int
        Number of codes; 0 without a shop.
    """
    shop = code_makers.active_shop(session, settings)
    if shop is None:
        return 0
    codes_by_offer: dict[tuple[tuple[Any, ...], bool], list[str]] = {}
    ends_at = campaign.sent_at
    for code, expires_at, customer, *values in session.execute(_issued_codes(campaign.id)):
        offer = tuple(values), code_makers.is_guest(shop.kind, customer)
        codes_by_offer.setdefault(offer, []).append(code)
        ends_at = expires_at
    for (terms, is_for_guests), codes in codes_by_offer.items():
        guests = {GUESTS: True} if is_for_guests else {}
        reference = _reference(campaign.id, (*terms, *guests))
        discount = ShopDiscount(
            team_id=settings.team_id,
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
        row = {"team_id": settings.team_id, "discount_id": discount.id, "state": "wanted"}
        insert_missing(session, ShopCode, [{"code": code, **row} for code in codes])
    return sum(map(len, codes_by_offer.values()))


def _issued_codes(campaign_id: str) -> Any:
    offer = Assignment.offer
    columns = [
        offer[name].as_float()
        if name in ("discount", "amount", "min_order")
        else offer[name].as_string()
        for name in _TERMS
    ]
    return (
        select(Coupon.code, Coupon.expires_at, Coupon.customer_id, *columns)
        .join(
            Assignment,
            (Assignment.campaign_id == Coupon.campaign_id)
            & (Assignment.customer_id == Coupon.customer_id),
        )
        .where(Coupon.campaign_id == campaign_id, Coupon.state == "issued")
        .order_by(Coupon.code)
    )


def _reference(campaign_id: str, terms: Sequence[Any]) -> str:
    return f"desk-{campaign_id}-{sha256(repr(terms).encode()).hexdigest()[:8]}"


def progress(session: Session, campaign_id: str) -> CodeProgress | None:
    """Return how far a campaign's codes are at the shop.

    Parameters
    ----------
    session : Session
        Open session.
    campaign_id : str
        Campaign id.

    Returns
    -------
    CodeProgress or None
        None if no shop makes its codes.
    """
    discounts = session.execute(
        select(ShopDiscount.state, ShopDiscount.error_code, ShopDiscount.attempts, Connection.name)
        .join(Connection, Connection.id == ShopDiscount.connection_id)
        .where(ShopDiscount.campaign_id == campaign_id)
    ).all()
    if not discounts:
        return None
    counts = dict(
        session.execute(
            select(ShopCode.state, func.count())
            .join(ShopDiscount, ShopDiscount.id == ShopCode.discount_id)
            .where(ShopDiscount.campaign_id == campaign_id)
            .group_by(ShopCode.state)
        )
        .tuples()
        .all()
    )
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


def waiting(session: Session, campaign_id: str) -> dict[str, Any] | None:
    """Return the progress as plain data while the e-mails wait for it.

    Parameters
    ----------
    session : Session
        Open session.
    campaign_id : str
        Campaign id.

    Returns
    -------
    dict or None
        Fields of `CodeProgress`. None if nothing waits.
    """
    state = progress(session, campaign_id)
    return asdict(state) if state is not None and state.is_waiting else None


def require_made(session: Session, campaign: Campaign) -> None:
    """Check that the shop has all codes of a campaign.

    Parameters
    ----------
    session : Session
        Open session.
    campaign : Campaign
        The campaign.

    Raises
    ------
    BadInput
        It still makes them.
    """
    state = progress(session, campaign.id)
    if state is not None and state.is_waiting:
        raise BadInput(
            gettext(
                "The codes of campaign {name!r} do not work at the checkout yet: {shop} has made "
                "{made:,} of {total:,}. Download the file when the campaign's message no longer "
                "says that it waits."
            ).format(name=campaign.name, shop=state.shop, made=state.made, total=state.total)
        )


def end_waits(session: Session, campaign_id: str) -> None:
    """Make the next attempt due: a stop does not wait until a retry of the making is due.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.
    """
    session.execute(
        update(ShopDiscount).where(ShopDiscount.campaign_id == campaign_id).values(retry_at=None),
        execution_options={"synchronize_session": False},
    )


def unmade_codes(session: Session, campaign_id: str) -> set[str]:
    """Return codes that the shop is to have and has not, e.g. because it refused them.

    Parameters
    ----------
    session : Session
        Open session.
    campaign_id : str
        Campaign id.

    Returns
    -------
    set of str
    """
    unmade = (
        select(ShopCode.code)
        .join(ShopDiscount, ShopDiscount.id == ShopCode.discount_id)
        .where(ShopDiscount.campaign_id == campaign_id, ShopCode.state.not_in(CONFIRMED))
    )
    return set(session.scalars(unmade))


def shop_of(session: Session, campaign_id: str) -> Connection | None:
    """Return the connection of the shop that makes a campaign's codes."""
    shop = (
        select(Connection)
        .join(ShopDiscount, ShopDiscount.connection_id == Connection.id)
        .where(ShopDiscount.campaign_id == campaign_id)
    )
    return session.scalar(shop.limit(1))


def customers_to_make(session: Session, campaign_id: str) -> list[str]:
    """Return the customers whose codes the shop has not confirmed.

    Parameters
    ----------
    session : Session
        Open session.
    campaign_id : str
        Campaign id.

    Returns
    -------
    list of str
    """
    customers = (
        select(Coupon.customer_id)
        .join(ShopCode, ShopCode.code == Coupon.code)
        .where(Coupon.campaign_id == campaign_id, ShopCode.state == "wanted")
    )
    return list(session.scalars(customers))


def used_codes(session: Session, campaign_id: str) -> int:
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


def due_campaigns(session: Session, settings: Settings, now: datetime) -> list[Campaign]:
    """Return campaigns with codes to make or to delete at an active shop.

    Parameters
    ----------
    session : Session
        Open session.
    settings : Settings
        Settings of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of Campaign
    """
    wall = clock.wall()
    is_due = exists().where(
        ShopDiscount.campaign_id == Campaign.id,
        ShopDiscount.ends_at > now,
        or_(ShopDiscount.retry_at.is_(None), ShopDiscount.retry_at <= wall),
        Connection.id == ShopDiscount.connection_id,
        Connection.state == "active",
        ShopCode.discount_id == ShopDiscount.id,
        Coupon.code == ShopCode.code,
        or_(_to_make(), _to_delete()),
    )
    return list(
        session.scalars(
            select(Campaign)
            .where(
                Campaign.team_id == settings.team_id,
                Campaign.state.in_(("live", "measuring", "closed", "cancelled")),
                is_due,
            )
            .order_by(Campaign.sent_at)
        )
    )


def _to_make() -> ColumnElement[bool]:
    return (
        (Campaign.state == "live")
        & (Coupon.state == "issued")
        & or_(ShopCode.state == "wanted", ShopDiscount.state == "blocked")
    )


def _to_delete() -> ColumnElement[bool]:
    return (Coupon.state == "void") & ShopCode.state.in_(POSSIBLE)
