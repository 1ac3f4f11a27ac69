"""Records of Shopify's stand-in, as GraphQL nodes, and the same as REST objects of webhooks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)


def stamp(at: datetime) -> str:
    """Return a time as Shopify writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Records:
    """The records of a shop, by number."""

    def __init__(self) -> None:
        self.currency = "GBP"
        self.orders: dict[int, dict[str, Any]] = {}
        self.customers: dict[int, dict[str, Any]] = {}
        self.products: dict[int, dict[str, Any]] = {}

    def fill(self, customers: int = 12, orders: int = 40) -> None:
        """Add a small shop, in which every sixth order has a refund."""
        for number in range(1, 5):
            self.add_product(number, price=f"{5 * number}.00", cost=f"{2 * number}.00")
        for number in range(1, customers + 1):
            self.add_customer(number, consent=number % 3 != 0)
        for number in range(1, orders + 1):
            at = BEGIN + timedelta(days=number, minutes=number)
            order = self.add_order(number, customer=number % customers + 1, at=at)
            if number % 6 == 0:
                self.refund(order, at + timedelta(days=2))

    def add_customer(
        self, number: int, *, consent: bool | None = True, at: datetime = BEGIN
    ) -> dict[str, Any]:
        """Add a customer."""
        state = {True: "SUBSCRIBED", False: "NOT_SUBSCRIBED", None: None}[consent]
        self.customers[number] = {
            "__typename": "Customer",
            "id": f"gid://shopify/Customer/{number}",
            "firstName": f"Ada {number}",
            "lastName": "Byron",
            "createdAt": stamp(at),
            "updatedAt": stamp(at),
            "locale": "en-GB",
            "defaultEmailAddress": _node(
                "CustomerEmailAddress",
                emailAddress=f"Ada{number}@example.com",
                marketingState=state,
            ),
            "defaultPhoneNumber": None,
            "defaultAddress": _node("MailingAddress", city="London", countryCodeV2="GB"),
        }
        return self.customers[number]

    def add_product(
        self, number: int, *, price: str = "10.00", cost: str | None = "4.00", variants: int = 1
    ) -> dict[str, Any]:
        """Add a product; its items are ``SKU-{number}`` or, with more variants, ``…-{place}``."""
        sku, picture = f"SKU-{number}", f"https://cdn.example/mug-{number}.jpg"
        self.products[number] = {
            "__typename": "Product",
            "id": f"gid://shopify/Product/{number}",
            "title": f"Mug {number}",
            "handle": f"mug-{number}",
            "productType": "Mugs",
            "vendor": "Potter",
            "status": "ACTIVE",
            "isGiftCard": False,
            "updatedAt": stamp(BEGIN),
            "onlineStoreUrl": f"https://shop.example/products/mug-{number}",
            "featuredMedia": _node(
                "MediaImage", preview=_node("MediaPreviewImage", image=_node("Image", url=picture))
            ),
            "variants": [
                self._variant(100 * number + place, f"{sku}-{place}", price, cost, place)
                if variants > 1
                else self._variant(100 * number + place, sku, price, cost, 0)
                for place in range(1, variants + 1)
            ],
        }
        return self.products[number]

    def _variant(
        self, number: int, sku: str, price: str, cost: str | None, size: int
    ) -> dict[str, Any]:
        return {
            "__typename": "ProductVariant",
            "id": f"gid://shopify/ProductVariant/{number}",
            "sku": sku,
            "title": f"Size {size}" if size else "Default Title",
            "price": price,
            "availableForSale": True,
            "inventoryQuantity": 7,
            "image": None,
            "inventoryItem": _node(
                "InventoryItem", unitCost=_node("MoneyV2", amount=cost) if cost else None
            ),
        }

    def add_order(
        self,
        number: int,
        *,
        customer: int | None = 1,
        at: datetime = BEGIN,
        lines: Sequence[tuple[str, int, str, str]] = (("SKU-1", 2, "5.00", "1.00"),),
        codes: Sequence[str] = (),
        email: str | None = None,
        currency: str | None = None,
    ) -> dict[str, Any]:
        """Add an order; a line has SKU, quantity, price of one, and discount on the line."""
        currency = currency or self.currency
        self.orders[number] = {
            "__typename": "Order",
            "id": f"gid://shopify/Order/{number}",
            "name": f"#{1000 + number}",
            "createdAt": stamp(at),
            "processedAt": stamp(at),
            "updatedAt": stamp(at),
            "cancelledAt": None,
            "test": False,
            "displayFinancialStatus": "PAID",
            "sourceName": "web",
            "discountCodes": [*codes],
            "email": email or (f"ada{customer}@example.com" if customer else None),
            "phone": None,
            "currencyCode": currency,
            "customer": _node("Customer", id=f"gid://shopify/Customer/{customer}")
            if customer
            else None,
            "refunds": [],
            "lineItems": [
                self._line(10 * number + place, currency, *line) for place, line in enumerate(lines)
            ],
        }
        return self.orders[number]

    def _line(
        self, number: int, currency: str, sku: str, quantity: int, price: str, discount: str
    ) -> dict[str, Any]:
        money = _bag(Decimal(discount), currency)
        allocation = _node("DiscountAllocation", allocatedAmountSet=money)
        return {
            "__typename": "LineItem",
            "id": f"gid://shopify/LineItem/{number}",
            "name": f"Mug {sku}",
            "sku": sku,
            "quantity": quantity,
            "variant": {"__typename": "ProductVariant", "id": "gid://shopify/ProductVariant/101"},
            "originalTotalSet": _bag(Decimal(price) * quantity, currency),
            "discountAllocations": [allocation] if Decimal(discount) else [],
        }

    def refund(
        self, order: dict[str, Any], at: datetime, *, quantity: int = 1, amount: str | None = None
    ) -> dict[str, Any]:
        """Refund pieces of the first line, or only an amount with ``quantity`` 0."""
        line, currency = order["lineItems"][0], order["currencyCode"]
        total = Decimal(line["originalTotalSet"]["shopMoney"]["amount"]) - sum(
            Decimal(part["allocatedAmountSet"]["shopMoney"]["amount"])
            for part in line["discountAllocations"]
        )
        value = Decimal(amount) if amount else (total / line["quantity"] * quantity)
        number = len(order["refunds"]) + 1
        money = _bag(value, currency)
        refunded = _node("RefundLineItem", quantity=quantity, subtotalSet=money)
        refunded["lineItem"] = _node("LineItem", id=line["id"])
        refund = _node("Refund", id=f"gid://shopify/Refund/{order['name'][1:]}{number}")
        refund |= {"createdAt": stamp(at), "totalRefundedSet": money}
        order["refunds"].append({**refund, "refundLineItems": [refunded] if quantity else []})
        order["updatedAt"] = stamp(at)
        return order

    def cancel(self, order: dict[str, Any], at: datetime) -> dict[str, Any]:
        """Cancel an order without a refund."""
        order["cancelledAt"] = order["updatedAt"] = stamp(at)
        return order


def _bag(amount: Decimal, currency: str) -> dict[str, Any]:
    money = _node("MoneyV2", amount=f"{amount:.2f}", currencyCode=currency)
    return _node("MoneyBag", shopMoney=money)


def _node(kind: str, **fields: Any) -> dict[str, Any]:
    return {"__typename": kind, **fields}


# ---------------------------------------------------------------- REST objects of webhooks


def rest(node: Any) -> dict[str, Any]:
    """Return a record as webhooks send it."""
    kinds = {"Order": _rest_order, "Customer": _rest_customer, "Product": _rest_product}
    return kinds[node["__typename"]](node)


def _number(gid: str) -> int:
    return int(gid.rpartition("/")[2])


def _set(bag: dict[str, Any], divisor: int = 1) -> dict[str, Any]:
    money = bag["shopMoney"]
    amount = f"{Decimal(money['amount']) / divisor:.2f}"
    return {"shop_money": {"amount": amount, "currency_code": money["currencyCode"]}}


def _rest_order(node: dict[str, Any]) -> dict[str, Any]:
    customer = node["customer"]
    return {
        "id": _number(node["id"]),
        "admin_graphql_api_id": node["id"],
        "name": node["name"],
        "created_at": node["createdAt"],
        "processed_at": node["processedAt"],
        "updated_at": node["updatedAt"],
        "cancelled_at": node["cancelledAt"],
        "test": node["test"],
        "financial_status": node["displayFinancialStatus"].lower(),
        "source_name": node["sourceName"],
        "discount_codes": [
            {"code": code, "amount": "1.00", "type": "percentage"} for code in node["discountCodes"]
        ],
        "email": node["email"],
        "phone": node["phone"],
        "currency": node["currencyCode"],
        "customer": {"id": _number(customer["id"]), "email": node["email"]} if customer else None,
        "line_items": [
            {
                "id": _number(line["id"]),
                "name": line["name"],
                "sku": line["sku"],
                "quantity": line["quantity"],
                "variant_id": _number(line["variant"]["id"]),
                "price": _set(line["originalTotalSet"], line["quantity"])["shop_money"]["amount"],
                "price_set": _set(line["originalTotalSet"], line["quantity"]),
                "discount_allocations": [
                    {
                        "amount": part["allocatedAmountSet"]["shopMoney"]["amount"],
                        "amount_set": _set(part["allocatedAmountSet"]),
                    }
                    for part in line["discountAllocations"]
                ],
            }
            for line in node["lineItems"]
        ],
        "refunds": [
            {
                "id": _number(refund["id"]),
                "created_at": refund["createdAt"],
                "refund_line_items": [
                    {
                        "line_item_id": _number(line["lineItem"]["id"]),
                        "quantity": line["quantity"],
                        "subtotal_set": _set(line["subtotalSet"]),
                    }
                    for line in refund["refundLineItems"]
                ],
                "transactions": [_payment(refund["totalRefundedSet"])],
            }
            for refund in node["refunds"]
        ],
    }


def _payment(bag: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "refund", "status": "success", "amount": bag["shopMoney"]["amount"]}


def _rest_customer(node: dict[str, Any]) -> dict[str, Any]:
    email = node["defaultEmailAddress"] or {}
    state = email.get("marketingState")
    return {
        "id": _number(node["id"]),
        "email": email.get("emailAddress"),
        "phone": None,
        "first_name": node["firstName"],
        "last_name": node["lastName"],
        "created_at": node["createdAt"],
        "updated_at": node["updatedAt"],
        "default_address": {"city": "London", "country_code": "GB"},
        "email_marketing_consent": {"state": state.lower()} if state else None,
    }


def _rest_product(node: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": _number(node["id"]),
        "title": node["title"],
        "handle": node["handle"],
        "product_type": node["productType"],
        "vendor": node["vendor"],
        "status": node["status"].lower(),
        "updated_at": node["updatedAt"],
        "image": {"src": node["featuredMedia"]["preview"]["image"]["url"]},
        "images": [],
        "variants": [
            {
                "id": _number(variant["id"]),
                "sku": variant["sku"],
                "title": variant["title"],
                "price": variant["price"],
                "inventory_quantity": variant["inventoryQuantity"],
                "inventory_management": "shopify",
                "inventory_policy": "deny",
                "image_id": None,
            }
            for variant in node["variants"]
        ],
    }
