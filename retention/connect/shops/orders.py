"""Turn a shop's orders into events, the same way for every platform.

Each event has an id that is made of the platform's own ids. So any number of deliveries and pulls
of one order, in any order, give the same events.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from retention.connect.contract import ConnectorError
from retention.connect.shops.loading import UPDATED_AT, version

CENT = Decimal("0.0001")  # amounts are compared with four decimals
LARGEST = Decimal(10) ** 12  # number that a shop can mean
MAX_UNITS = 500  # of a line that has an event per returned unit


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order. ``amount`` is the line's total after ``discount``."""

    id: str
    item_id: str | None
    quantity: Decimal
    amount: Decimal
    discount: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of pieces of a line, or of an amount without pieces (``quantity`` is 0)."""

    id: str
    at: datetime
    line_id: str | None
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a shop.

    ``number`` is what people call the order. ``email`` and ``phone`` belong to a guest, who has no
    account. ``codes`` are discount codes.
    """

    id: str
    number: str
    customer_id: str | None
    at: datetime
    currency: str
    lines: Sequence[Line]
    refunds: Sequence[Refund] = ()
    cancelled_at: datetime | None = None
    channel: str = "web"
    codes: Sequence[str] = ()
    email: str | None = None
    phone: str | None = None
    name: str | None = None

    @property
    def buyer(self) -> str | None:
        """The id of the customer; of a guest the e-mail address, else the telephone number."""
        return self.customer_id or self.email or self.phone


def events(order: Order, source: str) -> Iterator[dict[str, Any]]:
    """Yield the events of an order.

    Earlier and later states of one order give events with equal ids, so that the lake has each of
    them once.

    Yields: rows of the table ``events``.
    """
    shared = {"customer_id": order.buyer, "order_id": order.number, "source": source}
    shared |= {"currency": order.currency, "channel": order.channel}
    prefix = f"{source}:{order.id}"
    for line in order.lines:
        yield shared | {
            "event_id": f"{prefix}:{line.id}",
            "event_type": "purchase",
            "occurred_at": order.at,
            "item_id": line.item_id,
            "quantity": line.quantity,
            "amount": line.amount,
            "discount": line.discount,
        }
    yield from _returns(order, prefix, shared)
    for code in order.codes:
        yield shared | {
            "event_id": f"{prefix}:code:{code}",
            "event_type": "coupon_redeem",
            "occurred_at": order.at,
            "query": code,
        }


def _returns(order: Order, prefix: str, shared: dict[str, Any]) -> Iterator[dict[str, Any]]:
    shared = shared | {"event_type": "return"}
    for line, units in zip(order.lines, _returned_units(order), strict=True):
        for number, (at, amount) in enumerate(units, 1):
            yield shared | {
                "event_id": f"{prefix}:returned:{line.id}:{number}",
                "occurred_at": at,
                "item_id": line.item_id,
                "quantity": Decimal(-1) if _has_units(line) else -line.quantity,
                "amount": -amount.quantize(CENT),
            }
    for refund in order.refunds:
        if _is_amount(order, refund):
            yield shared | {
                "event_id": f"{prefix}:refund:{refund.id}",
                "occurred_at": refund.at,
                "item_id": None,
                "quantity": None,
                "amount": -refund.amount,
            }


def _returned_units(order: Order) -> list[list[tuple[datetime, Decimal]]]:
    """Return time and amount of each returned unit, by line.

    The units are numbered. So a cancellation returns those that no refund returned before, and a
    refund after a cancellation returns nothing again.
    """
    refunded = [_refunded_units(order, line) for line in order.lines]
    if order.cancelled_at is None:
        return [units for units, _ in refunded]
    rests = [
        max(line.amount - paid_back - sum(amount for _, amount in units), Decimal(0))
        for line, (units, paid_back) in zip(order.lines, refunded, strict=True)
    ]
    # An amount that was refunded for no line reduces what is left of all lines in proportion.
    own = {line.id for line in order.lines}
    total = sum(rests, Decimal(0))
    others = [refund for refund in order.refunds if refund.line_id not in own]
    paid_back = sum((each.amount for each in others if _is_amount(order, each)), Decimal(0))
    left = max(total - paid_back, Decimal(0))
    returned = []
    for line, (units, _), rest in zip(order.lines, refunded, rests, strict=True):
        missing = _count(line) - len(units)
        share = rest * left / total / missing if missing and total else Decimal(0)
        returned.append(units + [(order.cancelled_at, share)] * missing)
    return returned


def _refunded_units(order: Order, line: Line) -> tuple[list[tuple[datetime, Decimal]], Decimal]:
    """Return the units of a line that refunds returned, and what was paid back without a unit."""
    units: list[tuple[datetime, Decimal]] = []
    paid_back = Decimal(0)
    for refund in sorted(order.refunds, key=lambda refund: (refund.at, refund.id)):
        if refund.line_id != line.id:
            continue
        if refund.quantity:
            pieces = int(refund.quantity) if _has_units(line) else 1
            units += [(refund.at, refund.amount / pieces)] * pieces
        elif _is_amount(order, refund):
            paid_back += refund.amount
    return units[: _count(line)], paid_back


def _count(line: Line) -> int:
    return int(line.quantity) if _has_units(line) else 1


def _has_units(line: Line) -> bool:
    """Return whether a line has pieces; goods by weight and very large lines are one piece."""
    return line.quantity == int(line.quantity) and 1 <= line.quantity <= MAX_UNITS


def _is_amount(order: Order, refund: Refund) -> bool:
    """Return whether a refund is an amount without pieces that counts.

    One after a cancellation pays back what the cancellation returned already.
    """
    is_late = order.cancelled_at is not None and refund.at >= order.cancelled_at
    return not refund.quantity and not is_late


def guests(orders: Sequence[Order]) -> list[dict[str, Any]]:
    """Return customer rows of buyers without an account; the newest order counts.

    They say nothing about consent: an order is no consent to e-mails.
    """
    in_order = sorted(orders, key=lambda order: order.at)
    newest = {order.buyer: order for order in in_order if order.customer_id is None}
    return [
        {
            "customer_id": buyer,
            "email": order.email,
            "phone": order.phone,
            "name": order.name,
            "attributes": {UPDATED_AT: version(order.at)},
        }
        for buyer, order in newest.items()
        if buyer
    ]


# ---------------------------------------------------------------- reading a platform's values


def need(record: Any, key: str) -> Any:
    """Return a field that must be there, though it may be null."""
    if not isinstance(record, dict) or key not in record:
        raise ConnectorError("changed_schema", key)
    return record[key]


def decimal(value: Any, key: str) -> Decimal:
    """Read a number; null is zero."""
    try:
        number = Decimal(str(value if value not in (None, "") else 0))
    except InvalidOperation:
        raise ConnectorError("changed_schema", key) from None
    if not number.is_finite() or abs(number) > LARGEST:
        raise ConnectorError("changed_schema", key)
    return number


def money(value: Any, key: str) -> Decimal:
    """Read an amount; null is zero."""
    return decimal(value, key).quantize(CENT)


def moment(value: Any, key: str) -> datetime:
    """Read a time; one without a zone is UTC."""
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ConnectorError("changed_schema", key) from None


def unix_moment(record: Any, key: str) -> datetime:
    """Read a field with the seconds since 1970."""
    try:
        return datetime.fromtimestamp(int(need(record, key)), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise ConnectorError("changed_schema", key) from None


def text(value: Any) -> str | None:
    """Return a text without spaces around it; None if it is empty."""
    cleaned = str(value).strip() if value is not None else ""
    return cleaned or None


def email_of(value: Any) -> str | None:
    """Return an e-mail address in lower case; None if it is empty."""
    address = text(value)
    return address.lower() if address else None


def full_name(first: Any, last: Any) -> str | None:
    """Join first and last name."""
    return text(" ".join(filter(None, (text(first), text(last)))))


def margin(price: Decimal, cost: Decimal | None) -> float | None:
    """Return the share of the price that is left after the cost; None if the cost is unknown."""
    if cost is None or price <= 0:
        return None
    return float(max(min(1 - cost / price, Decimal(1)), Decimal(-1)))
