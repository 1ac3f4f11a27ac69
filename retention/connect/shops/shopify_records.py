"""Read Shopify's records: GraphQL nodes of a pull and REST objects of a webhook.

An item is a variant. Its id is the SKU, or else the variant's number, as in an exported file.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from retention.connect.contract import ConnectorError
from retention.connect.shops import orders
from retention.connect.shops.loading import CHANGED_AT, UPDATED_AT, version
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

_CHANNELS = {"pos": "store", "iphone": "app", "android": "app"}
_UNPAID = {"VOIDED", "EXPIRED"}  # states of an order that will never be paid


def number(gid: Any) -> str:
    """Return the number of a GraphQL id such as ``gid://shopify/Order/1``."""
    return str(gid).rpartition("/")[2].partition("?")[0]


def _shop_money(bag: Any, key: str) -> Decimal:
    return money(need(need(bag, "shopMoney"), "amount"), key)


# ---------------------------------------------------------------- GraphQL


def order(node: Mapping[str, Any], lines: Sequence[Any], refunds: Sequence[Any]) -> Order | None:
    """Read an order.

    `node`: the order's own fields.
    Returns: none for a test order and for one without a buyer, such as a sale in a store.
    """
    need(node, "customer")
    return _order(
        node,
        ("createdAt", "processedAt", "updatedAt", "cancelledAt", "sourceName", "currencyCode"),
        status=node.get("displayFinancialStatus"),
        lines=[_line(line) for line in lines],
        refunds=[each for refund in refunds for each in _refunds(refund)],
        codes=node.get("discountCodes"),
    )


def _order(
    record: Mapping[str, Any], keys: Sequence[str], status: Any, codes: Any, **parts: Any
) -> Order | None:
    """Read the fields of an order that nodes and webhooks call differently only.

    `keys`: names of when it was created, processed, updated and cancelled, of the channel and the
    currency.
    """
    created, processed, updated, cancelled, channel, currency = keys
    customer, changed_at = record.get("customer"), moment(need(record, updated), updated)
    cancelled_at = need(record, cancelled)
    never_paid = changed_at if str(status or "").upper() in _UNPAID else None
    result = Order(
        id=number(need(record, "id")),
        number=str(need(record, "name")),
        customer_id=number(need(customer, "id")) if customer else None,
        at=moment(record.get(processed) or need(record, created), created),
        currency=str(need(record, currency)),
        cancelled_at=moment(cancelled_at, cancelled) if cancelled_at else never_paid,
        channel=_CHANNELS.get(str(record.get(channel)), "web"),
        codes=[code for code in codes or () if code],
        email=email_of(record.get("email")),
        phone=text(record.get("phone")),
        **parts,
    )
    return None if record.get("test") or not result.buyer else result


def _line(node: Any) -> Line:
    variant = need(node, "variant")
    gross = _shop_money(need(node, "originalTotalSet"), "originalTotalSet")
    parts = [need(part, "allocatedAmountSet") for part in need(node, "discountAllocations")]
    discount = sum((_shop_money(part, "allocatedAmountSet") for part in parts), Decimal(0))
    item = text(node.get("sku")) or (number(need(variant, "id")) if variant else text(node["name"]))
    quantity = decimal(need(node, "quantity"), "quantity")
    return Line(number(need(node, "id")), item, quantity, gross - discount, discount)


def _refunds(node: Any) -> list[Refund]:
    """Read a refund: one per line, or one of an amount without lines."""
    identity = number(need(node, "id"))
    at = moment(need(node, "createdAt"), "refunds.createdAt")
    lines = [
        Refund(
            identity,
            at,
            number(need(need(line, "lineItem"), "id")),
            decimal(need(line, "quantity"), "quantity"),
            _shop_money(need(line, "subtotalSet"), "subtotalSet"),
        )
        for line in need(node, "refundLineItems")
    ]
    total = _shop_money(need(node, "totalRefundedSet"), "totalRefundedSet")
    return merged_refunds(identity, at, lines, total)


def merged_refunds(
    identity: str, at: datetime, lines: Sequence[Refund], total: Decimal
) -> list[Refund]:
    """Return one refund per line, or one of the total if there are no lines."""
    if not lines:
        return [Refund(identity, at, None, Decimal(0), total)] if total > 0 else []
    merged: dict[str | None, list[Refund]] = defaultdict(list)
    for line in lines:
        merged[line.line_id].append(line)
    zero = Decimal(0)
    return [
        Refund(
            f"{identity}:{line_id}",
            at,
            line_id,
            sum((part.quantity for part in parts), zero),
            sum((part.amount for part in parts), zero),
        )
        for line_id, parts in merged.items()
    ]


def customer_row(node: Mapping[str, Any]) -> dict[str, Any]:
    """Read a customer, with the consents to e-mails and to SMS."""
    email, phone = need(node, "defaultEmailAddress"), need(node, "defaultPhoneNumber")
    address = node.get("defaultAddress") or {}
    return {
        "customer_id": number(need(node, "id")),
        "email": email_of(need(email, "emailAddress")) if email else None,
        "phone": text(need(phone, "phoneNumber")) if phone else None,
        "name": full_name(node.get("firstName"), node.get("lastName")),
        "locale": text(node.get("locale")),
        "created_at": moment(need(node, "createdAt"), "createdAt"),
        "marketing_consent": _consent(need(email, "marketingState")) if email else None,
        "sms_consent": _consent(need(phone, "marketingState")) if phone else None,
        "attributes": _attributes(
            need(node, "updatedAt"), city=address.get("city"), country=address.get("countryCodeV2")
        ),
    }


def _consent(state: Any) -> bool | None:
    return None if state is None else str(state).upper() == "SUBSCRIBED"


def _attributes(updated_at: Any, **values: Any) -> dict[str, Any]:
    known = {key: value for key, value in values.items() if value not in (None, "")}
    return {**known, UPDATED_AT: version(moment(updated_at, "updatedAt"))}


def item_rows(node: Mapping[str, Any], variants: Sequence[Any]) -> list[dict[str, Any]]:
    """Read a product: one row per variant."""
    picture = ((node.get("featuredMedia") or {}).get("preview") or {}).get("image") or {}
    is_active = need(node, "status") == "ACTIVE"
    rows = []
    for variant in variants:
        stock = need(variant, "inventoryItem") or {}
        cost = stock.get("unitCost")
        price = money(need(variant, "price"), "price")
        image = (variant.get("image") or {}).get("url") or picture.get("url")
        rows.append(
            {
                "item_id": text(variant.get("sku")) or number(need(variant, "id")),
                "title": item_title(need(node, "title"), variant.get("title")),
                "category": text(node.get("productType")),
                "brand": text(node.get("vendor")),
                "price": price,
                "margin": orders.margin(price, money(cost.get("amount"), "cost") if cost else None),
                "in_stock": bool(is_active and need(variant, "availableForSale")),
                "attributes": _attributes(
                    need(node, "updatedAt"),
                    product_id=number(need(node, "id")),
                    variant_id=number(need(variant, "id")),
                    handle=node.get("handle"),
                    url=node.get("onlineStoreUrl"),
                    image=image,
                    stock=variant.get("inventoryQuantity"),
                    recommendable=False if node.get("isGiftCard") else None,
                ),
            }
        )
    return rows


def item_title(product: Any, variant: Any) -> str:
    """Join the titles of product and variant; the only variant has no title of its own."""
    own = text(variant)
    return f"{product} - {own}" if own and own != "Default Title" else str(product)


# ---------------------------------------------------------------- webhooks (REST objects)


def hook_order(body: Mapping[str, Any]) -> Order | None:
    """Read the order of a webhook.

    Returns: none for a test order and for one without a buyer.
    """
    return _order(
        body,
        ("created_at", "processed_at", "updated_at", "cancelled_at", "source_name", "currency"),
        status=body.get("financial_status"),
        lines=[_hook_line(line) for line in need(body, "line_items")],
        refunds=[each for refund in need(body, "refunds") for each in _hook_refunds(refund)],
        codes=[code.get("code") for code in body.get("discount_codes") or ()],
    )


def _hook_money(record: Any, key: str) -> Decimal:
    """Return an amount in the shop's currency; the plain field may be in the buyer's."""
    bag = record.get(f"{key}_set") if isinstance(record, dict) else None
    return money(bag["shop_money"]["amount"] if bag else need(record, key), key)


def _hook_line(line: Any) -> Line:
    quantity = decimal(need(line, "quantity"), "quantity")
    gross = _hook_money(line, "price") * quantity
    discount = sum(
        (_hook_money(part, "amount") for part in need(line, "discount_allocations")), Decimal(0)
    )
    item = text(line.get("sku")) or text(line.get("variant_id")) or text(line.get("name"))
    return Line(str(need(line, "id")), item, quantity, gross - discount, discount)


def _hook_refunds(refund: Any) -> list[Refund]:
    identity = str(need(refund, "id"))
    at = moment(need(refund, "created_at"), "refunds.created_at")
    lines = [
        Refund(
            identity,
            at,
            str(need(line, "line_item_id")),
            decimal(need(line, "quantity"), "quantity"),
            _hook_money(line, "subtotal"),
        )
        for line in need(refund, "refund_line_items")
    ]
    paid_back = [
        _hook_money(payment, "amount")
        for payment in refund.get("transactions") or ()
        if payment.get("kind") == "refund" and payment.get("status") == "success"
    ]
    return merged_refunds(identity, at, lines, sum(paid_back, Decimal(0)))


def hook_customer(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read the customer of a webhook.

    The row has no consent if the webhook has none: newer versions send it separately.
    """
    address = body.get("default_address") or {}
    row: dict[str, Any] = {
        "customer_id": str(need(body, "id")),
        "email": email_of(need(body, "email")),
        "phone": text(body.get("phone")),
        "name": full_name(body.get("first_name"), body.get("last_name")),
        "created_at": moment(need(body, "created_at"), "created_at"),
        "attributes": _attributes(
            need(body, "updated_at"), city=address.get("city"), country=address.get("country_code")
        ),
    }
    if consent := body.get("email_marketing_consent"):
        row["marketing_consent"] = _consent(need(consent, "state"))
    if consent := body.get("sms_marketing_consent"):
        row["sms_consent"] = _consent(need(consent, "state"))
    return row


# Fields of webhooks about a consent, by the column of ``customers``.
CONSENT_FIELDS = {
    "marketing_consent": "email_marketing_consent",
    "sms_consent": "sms_marketing_consent",
}


def hook_consent(body: Mapping[str, Any], column: str = "marketing_consent") -> dict[str, Any]:
    """Read a change of a customer's consent to e-mails or SMS.

    A consent without a time may be older than the stored one. It is left to the next pull; a
    withdrawal counts.
    """
    consent = need(body, CONSENT_FIELDS[column])
    has_consented, at = _consent(need(consent, "state")), consent.get("consent_updated_at")
    row: dict[str, Any] = {"customer_id": str(need(body, "customer_id"))}
    if at or not has_consented:
        row[column] = has_consented
    if at:
        row["attributes"] = {CHANGED_AT[column]: version(moment(at, "consent_updated_at"))}
    return row


def hook_items(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the product of a webhook: one row per variant, without the cost."""
    is_active = need(body, "status") == "active"
    picture = (body.get("image") or {}).get("src")
    pictures = {image.get("id"): image.get("src") for image in body.get("images") or ()}
    rows = []
    for variant in need(body, "variants"):
        quantity = variant.get("inventory_quantity")
        is_tracked = variant.get("inventory_management") is not None
        sells_on = variant.get("inventory_policy") == "continue"
        rows.append(
            {
                "item_id": text(variant.get("sku")) or str(need(variant, "id")),
                "title": item_title(need(body, "title"), variant.get("title")),
                "category": text(body.get("product_type")),
                "brand": text(body.get("vendor")),
                "price": money(need(variant, "price"), "price"),
                "in_stock": bool(is_active and (not is_tracked or sells_on or (quantity or 0) > 0)),
                "attributes": _attributes(
                    need(body, "updated_at"),
                    product_id=str(need(body, "id")),
                    variant_id=str(need(variant, "id")),
                    handle=body.get("handle"),
                    image=pictures.get(variant.get("image_id")) or picture,
                    stock=quantity,
                ),
            }
        )
    return rows


def privacy_ids(body: Mapping[str, Any], shop: str, required: str) -> list[str]:
    """Return the customer ids of a privacy webhook.

    The signature covers the body alone. So the body must be of this kind and of this shop, or else
    a recorded delivery of another kind could be sent again as a request to erase.
    """
    if required not in body or str(body.get("shop_domain", "")).lower() != shop.lower():
        raise ConnectorError("refused", "not a privacy request of this shop")
    customer = body.get("customer") or {}
    ids = (text(customer.get("id")), email_of(customer.get("email")), text(customer.get("phone")))
    return [each for each in ids if each]
