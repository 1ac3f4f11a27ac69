"""Stand in for WooCommerce: REST API v3 of WooCommerce 9, and webhooks.

Written from https://woocommerce.github.io/woocommerce-rest-api-docs/ (v3). ``python -m
tests.standins.woocommerce --port 8091`` serves a small shop.
"""

import argparse
import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from operator import itemgetter
from typing import Any

from tests.standins.server import Answer, Call, StandIn, renamed, signature

VERSION = "wc/v3"
API = f"/wp-json/{VERSION}"
KEY, CONSUMER_SECRET, SECRET = "ck_test", "cs_test", "hook_test"
BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)

Route = Callable[[Call, list[str]], Answer]


def stamp(at: datetime) -> str:
    """Return a time as WooCommerce writes it: UTC without a zone."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


class WooCommerce(StandIn):
    """A WooCommerce shop."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.key, self.consumer_secret, self.secret = KEY, CONSUMER_SECRET, SECRET
        self.currency = "EUR"
        self.orders: dict[int, dict[str, Any]] = {}
        self.customers: dict[int, dict[str, Any]] = {}
        self.products: dict[int, dict[str, Any]] = {}
        self.refunds: dict[int, list[dict[str, Any]]] = {}
        self.variations: dict[int, list[dict[str, Any]]] = {}
        self.webhooks: list[dict[str, Any]] = []
        self.renamed: dict[str, str] = {}
        # Further routes by method and first part of the path, such as ("POST", "coupons").
        self.routes: dict[tuple[str, str], Route] = {}
        self._numbers = count(1)

    def respond(self, call: Call) -> Answer:
        """Answer a request."""
        if not call.path.startswith(f"{API}/"):
            return _error(404, "rest_no_route", "No route was found matching the URL.")
        given = call.headers.get("authorization", "").removeprefix("Basic ")
        if base64.b64decode(given).decode() != f"{self.key}:{self.consumer_secret}":
            return _error(401, "woocommerce_rest_authentication_error", "Invalid signature.")
        parts = call.path.removeprefix(f"{API}/").split("/")
        if route := self.routes.get((call.method, parts[0])):
            return route(call, parts)
        if call.method == "POST" and parts == ["webhooks"]:
            hook = {"status": "active", **call.json(), "id": next(self._numbers)}
            self.webhooks.append(hook)
            return Answer(201, hook)
        if call.method == "PUT" and parts[0] == "webhooks":
            hook = next(each for each in self.webhooks if each["id"] == int(parts[1]))
            hook |= call.json()
            return Answer(200, hook)
        if parts == ["data", "currencies", "current"]:
            return Answer(200, {"code": self.currency, "name": "Euro", "symbol": "€"})
        found = self._list(call, parts)
        if found is None or call.method != "GET":
            return _error(404, "rest_no_route", "No route was found matching the URL.")
        return self._paged(call, found)

    def _list(self, call: Call, parts: list[str]) -> list[dict[str, Any]] | None:
        if parts == ["webhooks"]:
            return self.webhooks
        if len(parts) == 3 and parts[0] == "orders" and parts[2] == "refunds":
            return self.refunds.get(int(parts[1]), [])
        if len(parts) == 3 and parts[0] == "products" and parts[2] == "variations":
            return self.variations.get(int(parts[1]), [])
        if len(parts) == 1 and parts[0] in ("orders", "customers", "products"):
            return self._filtered(call, [*getattr(self, parts[0]).values()])
        return None

    def _filtered(self, call: Call, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        query = call.query
        for name, key in (("modified_after", "date_modified_gmt"), ("after", "date_created_gmt")):
            if bound := query.get(name):
                records = [each for each in records if each[key] > bound]
        keys = {"modified": "date_modified_gmt", "id": "id"}
        key = keys.get(query.get("orderby", ""), "date_created_gmt")
        is_reverse = query.get("order", "desc") == "desc"
        by_id = sorted(records, key=itemgetter("id"), reverse=is_reverse)
        return sorted(by_id, key=lambda each: each.get(key) or "", reverse=is_reverse)

    def _paged(self, call: Call, records: list[dict[str, Any]]) -> Answer:
        size, page = int(call.query.get("per_page", 10)), int(call.query.get("page", 1))
        if size > 100:
            return _error(400, "rest_invalid_param", "Invalid parameter(s): per_page")
        shown = records[size * (page - 1) : size * page]
        if self.take_fault(call, "missing_page"):
            shown = []
        pages = -(-len(records) // size)
        headers = {"X-WP-Total": str(len(records)), "X-WP-TotalPages": str(pages)}
        return Answer(200, renamed(shown, self.renamed), headers)

    # ------------------------------------------------------------ records

    def fill(self, customers: int = 12, orders: int = 40) -> None:
        """Add a small shop, in which every sixth order has a refund."""
        for number in range(1, 5):
            self.add_product(number, price=f"{5 * number}.00", cost=2.0 * number)
        for number in range(1, customers + 1):
            self.add_customer(number, consent=number % 3 != 0)
        for number in range(1, orders + 1):
            at = BEGIN + timedelta(days=number, minutes=number)
            order = self.add_order(number, customer=number % customers + 1, at=at)
            if number % 6 == 0:
                self.refund(order, at + timedelta(days=2))

    def add_customer(self, number: int, *, consent: bool | None = None) -> dict[str, Any]:
        """Add a customer; consent is in a plugin's field."""
        known = [] if consent is None else [{"key": "opt_in", "value": "yes" if consent else "no"}]
        self.customers[number] = {
            "id": number,
            "email": f"Ada{number}@example.com",
            "first_name": f"Ada {number}",
            "last_name": "Byron",
            "date_created_gmt": stamp(BEGIN),
            "date_modified_gmt": stamp(BEGIN),
            "billing": {"phone": "", "city": "Dublin", "country": "IE"},
            "meta_data": known,
        }
        return self.customers[number]

    def add_product(
        self, number: int, *, price: str = "10.00", cost: float | None = 4.0, variations: int = 0
    ) -> dict[str, Any]:
        """Add a product ``SKU-{number}``; its variations are ``SKU-{number}-{place}``."""
        shared = {"date_created_gmt": stamp(BEGIN), "date_modified_gmt": stamp(BEGIN)}
        shared |= {"status": "publish", "price": price}
        shared |= {"stock_status": "instock", "stock_quantity": 7}
        self.products[number] = {
            **shared,
            "id": number,
            "name": f"Mug {number}",
            "sku": f"SKU-{number}",
            "type": "variable" if variations else "simple",
            "permalink": f"https://shop.example/product/mug-{number}",
            "categories": [{"id": 1, "name": "Mugs"}],
            "brands": [{"id": 1, "name": "Potter"}],
            "images": [{"src": f"https://cdn.example/mug-{number}.jpg"}],
            "attributes": [],
            "cost_of_goods_sold": {"total_value": cost},
        }
        self.variations[number] = [
            {
                **shared,
                "id": 100 * number + place,
                "sku": f"SKU-{number}-{place}",
                "permalink": f"https://shop.example/product/mug-{number}?size={place}",
                "image": None,
                "attributes": [{"name": "Size", "option": str(place)}],
            }
            for place in range(1, variations + 1)
        ]
        return self.products[number]

    def add_order(
        self,
        number: int,
        *,
        customer: int | None = 1,
        at: datetime = BEGIN,
        status: str = "processing",
        codes: tuple[str, ...] = (),
        email: str | None = None,
        currency: str | None = None,
    ) -> dict[str, Any]:
        """Add an order of two pieces of ``SKU-1``, at 5.00 each and 1.00 off."""
        self.orders[number] = {
            "id": number,
            "number": str(number),
            "status": status,
            "currency": currency or self.currency,
            "customer_id": customer or 0,
            "date_created_gmt": stamp(at),
            "date_modified_gmt": stamp(at),
            "date_paid_gmt": stamp(at) if status != "pending" else None,
            "payment_method": "card",
            "billing": {
                "email": email or f"ada{customer}@example.com",
                "phone": "",
                "first_name": "Ada",
                "last_name": "Byron",
            },
            "coupon_lines": [{"id": 1, "code": code} for code in codes],
            "refunds": [],
            "line_items": [
                {
                    "id": 10 * number,
                    "name": "Mug 1",
                    "product_id": 1,
                    "variation_id": 0,
                    "sku": "SKU-1",
                    "quantity": 2,
                    "subtotal": "10.00",
                    "total": "9.00",
                }
            ],
        }
        return self.orders[number]

    def refund(self, order: dict[str, Any], at: datetime) -> dict[str, Any]:
        """Refund one piece of an order."""
        number = 1_000 * order["id"] + len(order["refunds"])
        order["refunds"].append({"id": number, "reason": "", "total": "-4.50"})
        order["date_modified_gmt"] = stamp(at)
        of_line = [{"key": "_refunded_item_id", "value": str(10 * order["id"])}]
        line = {"id": number + 500, "quantity": -1, "total": "-4.50", "meta_data": of_line}
        refund = {"id": number, "date_created_gmt": stamp(at), "amount": "4.50"}
        self.refunds.setdefault(order["id"], []).append({**refund, "line_items": [line]})
        return order

    # ------------------------------------------------------------ webhooks

    def delivery(
        self,
        topic: str,
        content: Mapping[str, Any],
        *,
        delivery_id: str = "",
        secret: str | None = None,
        sent_at: datetime | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Return headers and body of a webhook; WooCommerce sends no time.

        Parameters
        ----------
        topic : str
            Such as ``order.created``.
        content : mapping
            A record.
        delivery_id : str
            That of an earlier delivery makes a duplicate.
        secret : str, optional
            Another one makes a wrong signature.
        sent_at : datetime, optional
            Not used.
        """
        body = json.dumps(content).encode()
        return {
            "Content-Type": "application/json",
            "X-WC-Webhook-Source": f"{self.url}/",
            "X-WC-Webhook-Topic": topic,
            "X-WC-Webhook-ID": "1",
            "X-WC-Webhook-Delivery-ID": delivery_id or f"delivery-{next(self._numbers)}",
            "X-WC-Webhook-Signature": signature(secret or self.secret, body),
        }, body


def _error(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"code": code, "message": message, "data": {"status": status}})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8091)
    stand_in = WooCommerce(parser.parse_args().port)
    stand_in.fill()
    print(
        f"WooCommerce {VERSION} at {stand_in.url} (key {KEY}, secret {CONSUMER_SECRET}, "
        f"webhook secret {SECRET})",
        flush=True,
    )
    stand_in.serve()
