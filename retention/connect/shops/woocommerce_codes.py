"""Make coupons in a WooCommerce shop.

Each code is a coupon of its own. The description holds the reference of its discount, so that a
search finds all coupons of an offer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from retention.connect import web
from retention.connect.contract import CodeBatch, ConnectorError, Discount, DiscountCode
from retention.connect.shops.orders import need
from retention.text import gettext

BATCH = 100  # most that WooCommerce takes
_PATH = "/wp-json/wc/v3/coupons"


class WooCommerceCodes:
    """The coupons of one WooCommerce shop.

    `access`: settings and secrets by name (`retention.connect.connections.Access`). The key needs
    the permission *Read/Write*.
    """

    batch_size = BATCH
    needs_email = True

    def __init__(self, access: Any) -> None:
        base = web.check_address(access["shop"], "shop")
        self._api = web.Api(base, {}, auth=(access["key"], access["secret"]))
        self._ids: dict[str, int] = {}  # of codes as listed

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def refusal(self, code: DiscountCode) -> str:
        """Return why the shop cannot have this code; empty if it can."""
        return "" if "@" in code.email else gettext("the customer has no e-mail address")

    def find_discount(self, reference: str, first: DiscountCode) -> str | None:
        """Return the reference, which is the id: nothing has to be created before the codes."""
        return reference

    def create_discount(self, discount: Discount, first: DiscountCode) -> str:
        """Return the reference, which is the id."""
        return discount.reference

    def allow(self, discount_id: str, discount: Discount, customers: Sequence[str]) -> None:
        """Do nothing: each coupon names the address of its customer."""

    def add_codes(
        self, discount_id: str, discount: Discount, codes: Sequence[DiscountCode]
    ) -> CodeBatch:
        """Make up to 100 coupons."""
        terms = self._terms(discount)
        create = [{**terms, "code": c.code, "email_restrictions": [c.email]} for c in codes]
        answer = self._api.json("POST", f"{_PATH}/batch", body={"create": create})
        results = answer.get("create") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(codes):
            raise ConnectorError("changed_schema", "coupons/batch: create", is_uncertain=True)
        made, failed = [], {}
        for code, result in zip(codes, results, strict=True):
            if error := result.get("error"):
                failed[code.code] = str(error.get("message") or error.get("code"))[:200]
            else:
                made.append(code.code)
        return CodeBatch(made=made, failed=failed)

    def batch(self, batch_id: str) -> CodeBatch:
        """Return a finished batch: WooCommerce makes coupons at once."""
        return CodeBatch(batch_id)

    def codes(self, discount_id: str) -> Iterator[tuple[str, int]]:
        """Yield each code of a discount and how often it was used."""
        page = 1
        while True:
            query = {"search": discount_id, "per_page": 100, "page": page, "orderby": "id"}
            response = self._api.call("GET", _PATH, query=query)
            for coupon in web.parse_json(response.content):
                if coupon.get("description") != discount_id:
                    continue
                code = str(need(coupon, "code")).upper()  # WooCommerce writes it in lower case
                self._ids[code] = need(coupon, "id")
                yield code, int(need(coupon, "usage_count"))
            if page >= int(response.headers.get("x-wp-totalpages", 1)):
                return
            page += 1

    def end_discount(self, discount_id: str) -> None:
        """Do nothing: coupons end when they are deleted."""

    def delete_codes(self, discount_id: str, codes: Sequence[str]) -> None:
        """Delete coupons that `codes` has listed."""
        ids = [self._ids[code] for code in codes if code in self._ids]
        if ids:
            self._api.json("POST", f"{_PATH}/batch", body={"delete": ids})

    def delete_discount(self, discount_id: str) -> None:
        """Do nothing: there is no discount besides its coupons."""

    def _terms(self, discount: Discount) -> dict[str, Any]:
        is_free = discount.kind == "free_shipping"
        terms: dict[str, Any] = {
            "description": discount.reference,
            "discount_type": "percent" if discount.kind == "percent" else "fixed_cart",
            "amount": "0" if is_free else f"{discount.value:.2f}",
            "free_shipping": is_free,
            "date_expires_gmt": f"{discount.ends_at:%Y-%m-%dT%H:%M:%S}",
            "individual_use": True,
            "usage_limit": 1,
            "usage_limit_per_user": 1,
        }
        if discount.minimum:
            terms["minimum_amount"] = f"{discount.minimum:.2f}"
        if discount.category:
            terms["product_categories"] = [self._category(discount.category)]
        return terms

    def _category(self, name: str) -> int:
        query = {"search": name, "per_page": 100}
        for category in self._api.json("GET", "/wp-json/wc/v3/products/categories", query=query):
            if str(category.get("name", "")).casefold() == name.casefold():
                return int(category["id"])
        raise ConnectorError("refused", f"no product category {name!r}")
