"""Make and delete the queued codes of a campaign at the shop.

Each step is committed before the next, and each may be repeated. A code is unique at a shop, so a
repeated request makes no second one. A request whose end nobody saw may take effect until
``busy_until``; until then its codes count as unknown.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import exists, select, update

from retention import clock
from retention.campaigns.codes.coupons import normalize_code
from retention.campaigns.codes.shop_code_queue import GUESTS, mark, move
from retention.connect.contract import CodeBatch, ConnectorError, Discount, DiscountCode, MakesCodes
from retention.db import Transaction
from retention.db.tables import Campaign, Coupon, ShopCode, ShopDiscount
from retention.outreach.sends import back_off

# Opens a transaction that fails if another attempt has the job.
Fenced = Callable[[], AbstractContextManager[Transaction]]
OnBatch = Callable[[Transaction], None]

BUSY = timedelta(minutes=1)  # longer than a request waits for its answer
POLL_EVERY, POLL_SECONDS = 1.0, 120.0  # of an asynchronous batch
RETRY_REFUSED = timedelta(hours=1)  # a person has to change something first
RETRY_BLOCKED = timedelta(days=1)


@dataclass(slots=True)
class SyncReport:
    """What a run did.

    ``is_pending``: a step has to wait, and the next run continues.
    """

    made: int = 0
    deleted: int = 0
    refused: int = 0
    is_pending: bool = False
    is_blocked: bool = False
    error: ConnectorError | None = None


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop and how long to wait for it.

    `poll_every`, `poll_seconds`: most seconds between two looks at an asynchronous request, and how
    long to look.
    """

    maker: MakesCodes
    emails: Mapping[str, str] = field(default_factory=dict)
    busy: timedelta = field(default_factory=lambda: BUSY)
    poll_every: float = field(default_factory=lambda: POLL_EVERY)
    poll_seconds: float = field(default_factory=lambda: POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class _Code:
    code: str
    customer_id: str
    state: str
    coupon: str


@dataclass(frozen=True, slots=True)
class _Work:
    """A discount and its codes as stored."""

    row: ShopDiscount
    codes: dict[str, _Code]
    is_live: bool

    @property
    def is_for_guests(self) -> bool:
        """Whether its customers have no account; discounts of earlier versions are for accounts."""
        return bool(self.row.terms.get(GUESTS))

    @property
    def is_blocked(self) -> bool:
        return self.row.state == "blocked"

    @property
    def issued(self) -> list[_Code]:
        """The codes that a customer may still use."""
        return [code for code in self.codes.values() if code.coupon == "issued"]

    @property
    def wanted(self) -> list[_Code]:
        is_open = self.is_live and not self.is_blocked
        return [code for code in self.issued if is_open and code.state == "wanted"]

    @property
    def unwanted(self) -> set[str]:
        known = [code for code in self.codes.values() if code.state in ("wanted", "made")]
        return {code.code for code in known if self.is_blocked or code.coupon == "void"}

    @property
    def has_usable_code(self) -> bool:
        return not self.is_blocked and bool(self.issued)


def sync_campaign(
    fenced: Fenced, shop: Shop, campaign_id: str, *, on_batch: OnBatch = lambda session: None
) -> SyncReport:
    """Bring a campaign's codes at the shop in line with ours."""
    report = SyncReport()
    with fenced() as session:
        _unblock(session, campaign_id)
        states = _states(session, campaign_id)
    if "blocked" in states.values():
        _remove_all(fenced, shop, list(states), report)
        return report
    for discount_id in states:
        try:
            _remove(fenced, shop, discount_id, report)
            _make(fenced, shop, discount_id, report, on_batch)
        except ConnectorError as error:
            report.error = error
            if error.code == "plan_limit" and _block(fenced, campaign_id, error):
                report.is_blocked = True
                _remove_all(fenced, shop, list(states), report)
            else:
                _note(fenced, discount_id, error)
            return report
    return report


def _states(session: Transaction, campaign_id: str) -> dict[int, str]:
    discounts = select(ShopDiscount.id, ShopDiscount.state).where(
        ShopDiscount.campaign_id == campaign_id
    )
    return dict(session.execute(discounts.order_by(ShopDiscount.id)).tuples().all())


def _load(session: Transaction, discount_id: int) -> _Work:
    row = session.get_one(ShopDiscount, discount_id, populate_existing=True)
    codes = session.execute(
        select(ShopCode.code, Coupon.customer_id, ShopCode.state, Coupon.state)
        .join(Coupon, Coupon.code == ShopCode.code)
        .where(ShopCode.discount_id == discount_id)
        .order_by(ShopCode.code)
    )
    state = session.scalar(select(Campaign.state).where(Campaign.id == row.campaign_id))
    return _Work(row, {code[0]: _Code(*code) for code in codes}, state == "live")


def set_discount(session: Transaction, discount_id: int, **values: Any) -> None:
    """Set columns of a discount."""
    session.change(update(ShopDiscount).where(ShopDiscount.id == discount_id).values(**values))


# Removing


def _remove(fenced: Fenced, shop: Shop, discount_id: int, report: SyncReport) -> None:
    """Delete codes that must not exist; used ones stay."""
    with fenced() as session:
        work = _load(session, discount_id)
    unwanted = work.unwanted
    if not unwanted:
        return
    maker, row = shop.maker, work.row
    platform_id = row.platform_id or maker.find_discount(row.reference, _first(work, shop))
    if platform_id and not work.has_usable_code:
        maker.end_discount(platform_id)  # before the deletion, which takes longer
    unknown = set() if _is_batch_over(work, shop) else _unknown_codes(work)
    present = listed_codes(maker, platform_id) if platform_id else {}
    used = {code for code in unwanted if present.get(code)}
    doomed = sorted(code for code in unwanted - used if code in present)
    for start in range(0, len(doomed), maker.batch_size):
        maker.delete_codes(platform_id or "", doomed[start : start + maker.batch_size])
    left = _wait_deleted(shop, platform_id, doomed) if platform_id and doomed else set()
    gone = unwanted - used - left - unknown
    is_empty = not (work.has_usable_code or used or left or unknown or set(present) - unwanted)
    if platform_id and is_empty:
        maker.delete_discount(platform_id)
    with fenced() as session:
        mark(session, row, used, "used")
        existed = {code for code in gone if work.codes[code].state == "made"} | (gone & {*doomed})
        mark(session, row, existed, "deleted")
        move(session, gone - existed, "deleted")  # never made
        if not unknown:
            set_discount(session, discount_id, batch=None, busy_until=None)
        if is_empty:
            set_discount(session, discount_id, platform_id=None)
    report.deleted += len(gone & set(doomed))
    report.is_pending |= bool(left or unknown)


def _remove_all(fenced: Fenced, shop: Shop, ids: Sequence[int], report: SyncReport) -> None:
    """Remove what was made for a blocked campaign; it waits for a larger plan."""
    for discount_id in ids:
        try:
            _remove(fenced, shop, discount_id, report)
        except ConnectorError as error:  # the next run goes on
            report.is_pending = True
            report.error = report.error or error
            return
    if not report.is_pending:
        _finish_block(fenced, ids)


def _finish_block(fenced: Fenced, ids: Sequence[int]) -> None:
    with fenced() as session:
        for discount_id in ids:
            still_issued = exists().where(Coupon.code == ShopCode.code, Coupon.state == "issued")
            is_gone = ShopCode.state.in_(("deleted", "refused"))
            gone = update(ShopCode).where(
                ShopCode.discount_id == discount_id, is_gone, still_issued
            )
            session.change(gone.values(state="wanted", error=None))
            set_discount(session, discount_id, retry_at=clock.wall() + RETRY_BLOCKED)


def listed_codes(maker: MakesCodes, platform_id: str) -> dict[str, int]:
    """Return uses by code, as we write it. Codes of others keep their own form."""
    return {normalize_code(code) or code: uses for code, uses in maker.codes(platform_id)}


def _wait_deleted(shop: Shop, platform_id: str, doomed: Sequence[str]) -> set[str]:
    """Wait until codes are gone, and return those that are not: platforms delete later."""
    pauses = _pauses(shop)
    left = set(doomed) & listed_codes(shop.maker, platform_id).keys()
    while bool(left) and next(pauses, False):
        left &= listed_codes(shop.maker, platform_id).keys()
    return left


def _unknown_codes(work: _Work) -> set[str]:
    """Codes that a request of a dead process may still make."""
    row = work.row
    if row.busy_until is None or row.busy_until <= clock.wall():
        return set()
    return set(row.batch["codes"]) if row.batch else {row.first_code}


def _is_batch_over(work: _Work, shop: Shop) -> bool:
    """Whether the platform says that an open batch is done."""
    batch_id = (work.row.batch or {}).get("id") or ""
    return batch_id != "" and _polled(shop, shop.maker.batch(batch_id)) is not None


# Making


def _make(
    fenced: Fenced, shop: Shop, discount_id: int, report: SyncReport, on_batch: OnBatch
) -> None:
    work = _refuse(fenced, shop, discount_id, report)
    is_open = work.is_live and not work.is_blocked
    if is_open and (work.wanted or work.row.batch):
        is_created = _create(fenced, shop, work, report)
        if not is_created or not _settle_open(fenced, shop, discount_id, report):
            report.is_pending = True
            return
        while batch := _next_batch(fenced, shop, discount_id):
            if not _add(fenced, shop, discount_id, batch, report, on_batch):
                report.is_pending = True
                return
    with fenced() as session:
        work = _load(session, discount_id)
        if work.is_live and work.row.state == "making" and not work.wanted:
            set_discount(session, discount_id, state="ready")
        if not work.wanted and not work.unwanted:
            no_error = {"error_code": None, "error_detail": None}
            set_discount(session, discount_id, attempts=0, retry_at=None, **no_error)


def _refuse(fenced: Fenced, shop: Shop, discount_id: int, report: SyncReport) -> _Work:
    """Set codes aside that the shop cannot have."""
    with fenced() as session:
        work = _load(session, discount_id)
        reasons = {
            code.code: reason
            for code in work.wanted
            if not work.is_for_guests and (reason := shop.maker.refusal(_contract_code(code, shop)))
        }
        for reason in set(reasons.values()):
            codes = [code for code, why in reasons.items() if why == reason]
            mark(session, work.row, codes, "refused", reason)
        report.refused += len(reasons)
        return _load(session, discount_id) if reasons else work


def _create(fenced: Fenced, shop: Shop, work: _Work, report: SyncReport) -> bool:
    """Create the discount once; False if an earlier request may still do so."""
    row, maker = work.row, shop.maker
    if row.platform_id:
        return True
    first = _first(work, shop)
    platform_id = maker.find_discount(row.reference, first)
    if platform_id is None:
        if _unknown_codes(work):
            return False
        if work.wanted and first.code not in {code.code for code in work.wanted}:
            first = _contract_code(work.wanted[0], shop)  # e.g. the customer was erased
        with fenced() as session:
            until = clock.wall() + shop.busy
            set_discount(session, row.id, first_code=first.code, busy_until=until, batch=None)
        try:
            platform_id = maker.create_discount(_discount(work), first)
        except ConnectorError as error:
            _forget_request(fenced, row.id, error)
            raise
    customers = [code.customer_id for code in work.issued if code.state != "refused"]
    maker.allow(platform_id, _discount(work), customers)
    made = listed_codes(maker, platform_id).keys() & work.codes.keys()
    with fenced() as session:
        set_discount(session, row.id, platform_id=platform_id, busy_until=None)
        mark(session, row, made, "made")
    report.made += len(made)
    return True


def _forget_request(fenced: Fenced, discount_id: int, error: ConnectorError, **values: Any) -> None:
    """Note that a request certainly had no effect."""
    if not error.is_uncertain:
        with fenced() as session:
            set_discount(session, discount_id, busy_until=None, **values)


def _settle_open(fenced: Fenced, shop: Shop, discount_id: int, report: SyncReport) -> bool:
    """Finish a batch of an earlier attempt; False if it may still take effect."""
    with fenced() as session:
        work = _load(session, discount_id)
    row = work.row
    if row.batch is None:
        return True
    if batch_id := row.batch.get("id"):
        result = _polled(shop, shop.maker.batch(batch_id))
        if result is None:
            return False
        _settle(fenced, shop, work, result, report, lambda session: None)
        return True
    present = listed_codes(shop.maker, row.platform_id or "")
    is_unknown = bool(_unknown_codes(work) - present.keys())
    with fenced() as session:
        mark(session, row, [code for code in row.batch["codes"] if code in present], "made")
        if not is_unknown:
            set_discount(session, discount_id, batch=None, busy_until=None)
    return not is_unknown


def _next_batch(fenced: Fenced, shop: Shop, discount_id: int) -> list[DiscountCode]:
    """Store the intent to make some codes, and return them."""
    with fenced() as session:
        work = _load(session, discount_id)
        chosen = work.wanted[: shop.maker.batch_size]
        if chosen:
            codes = [code.code for code in chosen]
            until = clock.wall() + shop.busy
            set_discount(session, discount_id, batch={"codes": codes, "id": None}, busy_until=until)
    return [_contract_code(code, shop) for code in chosen]


def _add(
    fenced: Fenced,
    shop: Shop,
    discount_id: int,
    batch: list[DiscountCode],
    report: SyncReport,
    on_batch: OnBatch,
) -> bool:
    with fenced() as session:
        work = _load(session, discount_id)
    row, codes = work.row, [code.code for code in batch]
    try:
        result = shop.maker.add_codes(row.platform_id or "", _discount(work), batch)
    except ConnectorError as error:
        _forget_request(fenced, discount_id, error, batch=None)
        raise
    if not result.is_done:
        with fenced() as session:
            set_discount(session, discount_id, batch={"codes": codes, "id": result.batch_id})
    finished = _polled(shop, result)
    if finished is None:
        return False
    _settle(fenced, shop, work, finished, report, on_batch)
    return True


def _polled(shop: Shop, batch: CodeBatch) -> CodeBatch | None:
    """Wait for an asynchronous batch; None if it takes too long."""
    pauses = _pauses(shop)
    while not batch.is_done and next(pauses, False):
        batch = shop.maker.batch(batch.batch_id)
    return batch if batch.is_done else None


def _pauses(shop: Shop) -> Iterator[bool]:
    """Sleep before each further look while there is time for one.

    The first pauses are short: a shop makes a hundred codes in less than a second.
    """
    until = time.monotonic() + shop.poll_seconds
    pause = shop.poll_every / 16
    while time.monotonic() < until:
        time.sleep(pause)
        pause = min(2 * pause, shop.poll_every)
        yield True


def _settle(
    fenced: Fenced,
    shop: Shop,
    work: _Work,
    result: CodeBatch,
    report: SyncReport,
    on_batch: OnBatch,
) -> None:
    """Store what the shop confirmed and refused."""
    made = {normalize_code(code) or code for code in result.made}
    failed = {normalize_code(code) or code: reason for code, reason in result.failed.items()}
    if failed:  # an earlier attempt may have made them
        made |= failed.keys() & listed_codes(shop.maker, work.row.platform_id or "").keys()
    with fenced() as session:
        mark(session, work.row, [code for code in made if code in work.codes], "made")
        for code, reason in failed.items():
            if code not in made:
                mark(session, work.row, [code], "refused", reason)
        set_discount(session, work.row.id, batch=None, busy_until=None, attempts=0)
        on_batch(session)
    report.made += len(made)
    report.refused += len(failed.keys() - made)
    if result.limit:
        raise ConnectorError("plan_limit", result.limit)


# Errors


def _block(fenced: Fenced, campaign_id: str, error: ConnectorError) -> bool:
    """Block a campaign that has sent nothing yet; False if it has."""
    with fenced() as session:
        of_campaign = ShopDiscount.campaign_id == campaign_id
        states = set(session.scalars(select(ShopDiscount.state).where(of_campaign)))
        if states == {"ready"}:  # codes were sent already, so none is taken back
            return False
        problem = {"error_code": error.code, "error_detail": error.detail}
        blocked = update(ShopDiscount).where(of_campaign)
        session.change(blocked.values(state="blocked", retry_at=None, **problem))
    return True


def _unblock(session: Transaction, campaign_id: str) -> None:
    """Try a blocked campaign again once its time has come."""
    is_due = (ShopDiscount.state == "blocked", ShopDiscount.retry_at <= clock.wall())
    due = update(ShopDiscount).where(ShopDiscount.campaign_id == campaign_id, *is_due)
    session.change(due.values(state="making", retry_at=None))


def _note(fenced: Fenced, discount_id: int, error: ConnectorError) -> None:
    with fenced() as session:
        row = session.get_one(ShopDiscount, discount_id)
        row.attempts += 1
        row.retry_at = _retry_at(error, row.attempts)
        row.error_code, row.error_detail = error.code, error.detail


def _retry_at(error: ConnectorError, attempts: int) -> datetime:
    if error.retry_at is not None:
        return error.retry_at
    return clock.wall() + (back_off(attempts) if error.is_temporary else RETRY_REFUSED)


# Contract values


def _first(work: _Work, shop: Shop) -> DiscountCode:
    return _contract_code(work.codes[work.row.first_code], shop)


def _contract_code(code: _Code, shop: Shop) -> DiscountCode:
    return DiscountCode(code.code, code.customer_id, shop.emails.get(code.customer_id, ""))


def _discount(work: _Work) -> Discount:
    row = work.row
    terms = row.terms
    is_amount = bool(terms["amount"])
    kind = "free_shipping" if terms["action"] == "free_shipping" else ""
    value = Decimal(str(terms["amount"] if is_amount else (terms["discount"] or 0) * 100))
    return Discount(
        reference=row.reference,
        title=row.title,
        kind=kind or ("amount" if is_amount else "percent"),  # type: ignore[arg-type]
        value=round(value, 4),
        currency=terms["currency"] or "",
        minimum=Decimal(str(terms["min_order"])) if terms["min_order"] else None,
        starts_at=row.created_at,
        ends_at=row.ends_at,
        category=terms["category"] or "",
        is_for_guests=work.is_for_guests,
    )
