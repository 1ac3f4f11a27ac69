"""WooCommerce's coupons: the part of the REST API v3 (9.x) that makes codes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.standins.server import Answer, Call
from tests.standins.woocommerce import WooCommerce

MOST = 100  # of a batch and of a page


class Coupons:
    """The coupons of a shop; codes are stored in lower case and unique.

    Parameters
    ----------
    allowed : callable
        Whether a code may exist at this moment; a test counts those that may not.
    """

    def __init__(self, allowed: Callable[[str], bool] = lambda code: True) -> None:
        self.allowed = allowed
        self.rows: dict[int, dict[str, Any]] = {}
        self.created: Counter[str] = Counter()
        self.unapproved: list[str] = []
        self.categories = {3: "Tea"}
        self._number = 100

    def codes(self) -> dict[str, int]:
        """Uses by code."""
        return {row["code"].upper(): row["usage_count"] for row in self.rows.values()}

    def use(self, code: str) -> None:
        """Use a code at the checkout."""
        next(row for row in self.rows.values() if row["code"] == code.lower())["usage_count"] += 1

    def respond(self, call: Call) -> Answer | None:
        """Answer a request about coupons or categories; None for others."""
        path = call.path.removeprefix("/wp-json/wc/v3")
        if path == "/coupons" and call.method == "GET":
            return self._page(call.query)
        if path == "/coupons/batch" and call.method == "POST":
            return self._batch(call.json())
        if path == "/products/categories":
            found = [{"id": key, "name": name} for key, name in self.categories.items()]
            return Answer(200, found, {"X-WP-TotalPages": "1"})
        return None

    def _page(self, query: dict[str, str]) -> Answer:
        size, page = int(query.get("per_page", 10)), int(query.get("page", 1))
        if size > MOST:
            return Answer(400, {"code": "rest_invalid_param"})
        word = query.get("search", "")
        rows = [row for row in self.rows.values() if word in row["description"] + row["code"]]
        pages = max(-(-len(rows) // size), 1)
        return Answer(200, rows[(page - 1) * size : page * size], {"X-WP-TotalPages": str(pages)})

    def _batch(self, request: dict[str, Any]) -> Answer:
        if len(request.get("create", ())) + len(request.get("delete", ())) > MOST:
            return Answer(413, {"code": "woocommerce_rest_request_entity_too_large"})
        answer: dict[str, Any] = {}
        if "create" in request:
            answer["create"] = [self._create(values) for values in request["create"]]
        if "delete" in request:
            answer["delete"] = [self._delete(number) for number in request["delete"]]
        return Answer(200, answer)

    def _create(self, values: dict[str, Any]) -> dict[str, Any]:
        code = values["code"].lower()
        if code in {row["code"] for row in self.rows.values()}:
            name = "woocommerce_rest_coupon_code_already_exists"
            message = "The coupon code already exists"
            return {"id": 0, "error": {"code": name, "message": message, "data": {"status": 400}}}
        self._number += 1
        row = {**values, "id": self._number, "code": code, "usage_count": 0}
        self.rows[self._number] = row
        self.created[code.upper()] += 1
        if not self.allowed(code.upper()):
            self.unapproved.append(code.upper())
        return row

    def _delete(self, number: int) -> dict[str, Any]:
        row = self.rows.pop(number, None)
        if row is None:
            name = "woocommerce_rest_shop_coupon_invalid_id"
            return {"id": number, "error": {"code": name, "message": "Invalid ID."}}
        return row


class WooCommerceCoupons(WooCommerce):
    """A WooCommerce shop that also makes coupons."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        super().__init__(port)
        self.coupons = Coupons(**options)

    def respond(self, call: Call) -> Answer:
        """Answer a request of the REST API."""
        answer = super().respond(call)
        is_ours = answer.status == 404 and call.path.startswith("/wp-json/wc/v3")
        return (self.coupons.respond(call) or answer) if is_ours else answer
