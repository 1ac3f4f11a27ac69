"""Read WooCommerce's records; a pull and a webhook have the same ones (REST API v3).

The id of an item is its SKU, or else its number, as in an exported file.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from retention.connect.contract import FirstCancelled
from retention.connect.shops import orders
from retention.connect.shops.loading import UPDATED_AT, version
from retention.connect.shops.orders import (
    Line,
    Order,
    Refund,
    decimal,
    email_of,
    full_name,
    moment,
    money,
    need,
    text,
)

# Nobody has paid these, and nothing is sent. An order on hold counts from its payment.
_UNPAID = {"pending", "failed", "on-hold", "checkout-draft", "draft", "auto-draft", "trash"}
_ENDED = {"cancelled", "refunded"}
_YES, _NO = {"1", "yes", "true", "on", "subscribed"}, {"0", "no", "false", "off", "unsubscribed"}


def order(
    record: Mapping[str, Any], refunds: Sequence[Any], first_cancelled: FirstCancelled
) -> Order | None:
    """Read an order.

    `first_cancelled`: returns when an order was first seen as cancelled.
    Returns: none for an order that was never paid, and for one without a buyer.
    """
    status, billing = str(need(record, "status")), need(record, "billing")
    paid_back = [each for refund in refunds for each in _refunds(refund)]
    customer_id = need(record, "customer_id")
    result = Order(
        id=str(need(record, "id")),
        number=str(record.get("number") or record["id"]),
        customer_id=str(customer_id) if customer_id else None,
        at=moment(need(record, "date_created_gmt"), "date_created_gmt"),
        currency=str(need(record, "currency")),
        lines=[_line(line) for line in need(record, "line_items")],
        refunds=paid_back,
        cancelled_at=_ended(status, record, paid_back, first_cancelled),
        codes=[str(need(line, "code")) for line in record.get("coupon_lines") or ()],
        email=email_of(need(billing, "email")),
        phone=text(billing.get("phone")),
        name=full_name(billing.get("first_name"), billing.get("last_name")),
    )
    is_unpaid = status in _UNPAID or (status == "cancelled" and not _was_sold(record))
    return None if is_unpaid or not result.buyer else result


def _ended(
    status: str,
    record: Mapping[str, Any],
    refunds: Sequence[Refund],
    first_cancelled: FirstCancelled,
) -> datetime | None:
    """Return when an order was cancelled or refunded as a whole.

    The last refund makes an order refunded. Nothing else has a time. So the last change counts when
    the order is first seen in this state, and later edits do not move it.
    """
    if status == "refunded" and refunds:
        return max(refund.at for refund in refunds)
    modified = moment(need(record, "date_modified_gmt"), "date_modified_gmt")
    return first_cancelled(str(need(record, "id")), modified) if status in _ENDED else None


def _was_sold(record: Mapping[str, Any]) -> bool:
    """Return whether a cancelled order counted as sold before; cash is paid on delivery."""
    return bool(need(record, "date_paid_gmt")) or record.get("payment_method") == "cod"


def refund_ids(record: Mapping[str, Any]) -> set[Any]:
    """Return the ids of an order's refunds, whose lines are a separate request."""
    return {need(refund, "id") for refund in record.get("refunds") or ()}


def _line(line: Any) -> Line:
    amount = money(need(line, "total"), "line_items.total")
    gross = money(need(line, "subtotal"), "line_items.subtotal")
    return Line(
        id=str(need(line, "id")),
        item_id=text(line.get("sku"))
        or text(line.get("variation_id") or need(line, "product_id"))
        or text(line.get("name")),
        quantity=decimal(need(line, "quantity"), "quantity"),
        amount=amount,
        discount=max(gross - amount, Decimal(0)),
    )


def _refunds(refund: Any) -> list[Refund]:
    """Read a refund: one per line, or one of an amount without lines."""
    identity = str(need(refund, "id"))
    at = moment(need(refund, "date_created_gmt"), "refunds.date_created_gmt")
    lines = need(refund, "line_items")
    if not lines:
        amount = abs(money(need(refund, "amount"), "refunds.amount"))
        return [Refund(identity, at, None, Decimal(0), amount)] if amount else []
    return [
        Refund(
            f"{identity}:{need(line, 'id')}",
            at,
            text(_meta(line, "_refunded_item_id")),
            abs(decimal(need(line, "quantity"), "quantity")),
            abs(money(need(line, "total"), "refunds.total")),
        )
        for line in lines
    ]


def customer_row(record: Mapping[str, Any], consent_field: str) -> dict[str, Any]:
    """Read a customer.

    WooCommerce itself has no consent to e-mails; a plugin stores it in a field of its own.

    `consent_field`: key of the plugin's field; empty if there is none, and consent stays unknown.
    """
    billing = record.get("billing") or {}
    row: dict[str, Any] = {
        "customer_id": str(need(record, "id")),
        "email": email_of(need(record, "email")),
        "phone": text(billing.get("phone")),
        "name": full_name(record.get("first_name"), record.get("last_name")),
        "created_at": moment(need(record, "date_created_gmt"), "date_created_gmt"),
        "attributes": _attributes(record, city=billing.get("city"), country=billing.get("country")),
    }
    if consent_field:
        row["marketing_consent"] = _consent(record, consent_field)
    return row


def _consent(record: Mapping[str, Any], field: str) -> bool | None:
    value = str(_meta(record, field)).strip().lower()
    return True if value in _YES else False if value in _NO else None


def _meta(record: Mapping[str, Any], key: str) -> Any:
    """Return a value that a plugin stored with a record."""
    entries = record.get("meta_data") or ()
    return next((entry.get("value") for entry in entries if entry.get("key") == key), None)


def _attributes(record: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    known = {key: value for key, value in values.items() if value not in (None, "")}
    # A customer who never changed has no date of a change.
    changed = need(record, "date_modified_gmt") or record.get("date_created_gmt")
    return {**known, UPDATED_AT: version(moment(changed, "date_modified_gmt"))}


def has_variations(record: Mapping[str, Any]) -> bool:
    """Return whether a product has variations, which are a separate request."""
    return need(record, "type") in ("variable", "variable-subscription")


def item_row(product: Mapping[str, Any], sold: Mapping[str, Any]) -> dict[str, Any]:
    """Read a product, or what is sold of it: one of its variations."""
    is_variation, name = sold is not product, str(need(product, "name"))
    options = ", ".join(str(each.get("option")) for each in sold.get("attributes") or ())
    price = money(need(sold, "price"), "price")
    pictures = [sold.get("image"), *(sold.get("images") or product.get("images") or ())]
    image: dict[str, Any] = next(filter(None, pictures), {})
    cost, is_published = _cost(sold), need(product, "status") == "publish"
    return {
        "item_id": text(sold.get("sku")) or str(need(sold, "id")),
        "title": f"{name} - {options}" if is_variation and options else name,
        "category": _first_name(product.get("categories")),
        "brand": _first_name(product.get("brands")),
        "price": price,
        "margin": orders.margin(price, cost if cost is not None else _cost(product)),
        "in_stock": is_published and need(sold, "stock_status") != "outofstock",
        "attributes": _attributes(
            sold,
            product_id=str(need(product, "id")),
            variant_id=str(need(sold, "id")) if is_variation else None,
            url=sold.get("permalink") or product.get("permalink"),
            image=image.get("src"),
            stock=sold.get("stock_quantity"),
        ),
    }


def _cost(record: Mapping[str, Any]) -> Decimal | None:
    """Return the cost of goods sold, which a shop may have switched off."""
    cost = (record.get("cost_of_goods_sold") or {}).get("total_value")
    return money(cost, "cost_of_goods_sold") if cost not in (None, "", 0) else None


def _first_name(entries: Any) -> str | None:
    return text(entries[0].get("name")) if entries else None
