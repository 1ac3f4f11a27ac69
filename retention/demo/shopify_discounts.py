"""Shopify's discounts: the part of the GraphQL Admin API (2026-07) that makes codes.

Codes are added and deleted by asynchronous jobs, a code is unique in the shop, and a plan may limit
their number, as in Shopify's documentation.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from retention.demo.graphql import Field, GraphqlError, project

_KNOWN = {
    "title",
    "code",
    "startsAt",
    "endsAt",
    "usageLimit",
    "appliesOncePerCustomer",
    "combinesWith",
    "context",
    "minimumRequirement",
    "customerGets",
    "destination",
}
MOST_IDS = 250  # of an array in one request


class Discounts:
    """The discounts of a shop.

    `delay`: seconds until an asynchronous job is done.
    """

    def __init__(
        self,
        limit: int | None = None,
        delay: float = 0.0,
        allowed: Callable[[str], bool] = lambda code: True,
    ) -> None:
        self.limit, self.delay, self.allowed = limit, delay, allowed
        self.nodes: dict[str, dict[str, Any]] = {}
        self.created: Counter[str] = Counter()  # how often each code was made
        self.unapproved: list[str] = []
        self.products: dict[str, list[str]] = {}  # by type
        self._batches: dict[str, dict[str, Any]] = {}
        self._jobs: list[tuple[float, Callable[[], None]]] = []
        self.number = 0

    # What a person or a test does at the shop.

    def codes(self) -> dict[str, int]:
        """Uses by code, in all discounts."""
        self.work()
        nodes = self.nodes.values()
        return {code["code"]: code["asyncUsageCount"] for node in nodes for code in node["codes"]}

    def checkout(self, code: str, customer: str, subtotal: float, at: str) -> str:
        """Use a code, and return why not, or an empty text."""
        self.work()
        for node in self.nodes.values():
            for each in node["codes"]:
                if each["code"].casefold() == code.casefold():
                    if reason := _refusal(node, each, customer, subtotal, at):
                        return reason
                    each["asyncUsageCount"] += 1
                    node["used_by"].add(customer)
                    return ""
        return "unknown"

    def node_of(self, code: str) -> dict[str, Any] | None:
        """Return the discount of a code."""
        return next((node for node in self.nodes.values() if _has(node, code)), None)

    def work(self) -> None:
        """Do the asynchronous jobs that are due."""
        now = time.monotonic()
        due = [job for at, job in self._jobs if at <= now]
        self._jobs = [(at, job) for at, job in self._jobs if at > now]
        for job in due:
            job()

    # The API.

    def fields(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """Root fields by name."""
        return {
            "codeDiscountNodeByCode": self._by_code,
            "codeDiscountNode": lambda given: self._record(given["id"]),
            "discountCodeBasicCreate": lambda given: self._create(
                "DiscountCodeBasic", given["basicCodeDiscount"]
            ),
            "discountCodeFreeShippingCreate": lambda given: self._create(
                "DiscountCodeFreeShipping", given["freeShippingCodeDiscount"]
            ),
            "discountCodeBasicUpdate": lambda given: self._update(
                given["id"], given["basicCodeDiscount"]
            ),
            "discountCodeFreeShippingUpdate": lambda given: self._update(
                given["id"], given["freeShippingCodeDiscount"]
            ),
            "discountRedeemCodeBulkAdd": self._bulk_add,
            "discountRedeemCodeBulkCreation": self._bulk,
            "discountCodeRedeemCodeBulkDelete": self._bulk_delete,
            "discountCodeDeactivate": self._deactivate,
            "discountCodeDelete": self._delete,
            "products": self._products,
        }

    def answer(self, field: Field) -> Any:
        """Return a root field's value."""
        self.work()
        value = self.fields()[field.name](field.arguments)
        return project(value, field.selection) if isinstance(value, dict) else value

    def _id(self, kind: str) -> str:
        self.number += 1
        return f"gid://shopify/{kind}/{self.number}"

    def _record(self, node_id: str) -> dict[str, Any] | None:
        return (
            {"id": node_id, "codeDiscount": self.nodes[node_id]} if node_id in self.nodes else None
        )

    def _by_code(self, given: dict[str, Any]) -> dict[str, Any] | None:
        found = (node_id for node_id, node in self.nodes.items() if _has(node, given["code"]))
        return self._record(next(found, ""))

    def _create(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        _check(values)
        if error := self._taken(values["code"]):
            return {"codeDiscountNode": None, "userErrors": [error]}
        if not (_is_for_all(values) or values["context"]["customers"]["add"]):
            error = {"field": ["context"], "code": "BLANK", "message": "can't be blank"}
            return {"codeDiscountNode": None, "userErrors": [error]}
        node_id = self._id("DiscountCodeNode")
        self.nodes[node_id] = {
            **{name: value for name, value in values.items() if name not in ("code", "context")},
            "__typename": kind,
            "codes": [],
            "is_for_all": _is_for_all(values),
            "customers": set(_customers_of(values)),
            "products": set(_products_of(values)),
            "used_by": set(),
            "is_active": True,
        }
        self._make(node_id, values["code"])
        return {"codeDiscountNode": self._record(node_id), "userErrors": []}

    def _update(self, node_id: str, values: dict[str, Any]) -> dict[str, Any]:
        _check(values)
        node = self.nodes[node_id]
        node["customers"] |= set(_customers_of(values))
        node["products"] |= set(_products_of(values))
        return {"codeDiscountNode": self._record(node_id), "userErrors": []}

    def _bulk_add(self, given: dict[str, Any]) -> dict[str, Any]:
        codes = [each["code"] for each in given["codes"]]
        if len(codes) > MOST_IDS:
            raise GraphqlError("MAX_INPUT_SIZE_EXCEEDED", "The input array size is over 250")
        if given["discountId"] not in self.nodes:
            error = {"field": ["discountId"], "code": "INVALID", "message": "Discount not found"}
            return {"bulkCreation": None, "userErrors": [error]}
        batch: dict[str, Any] = {
            "id": self._id("DiscountRedeemCodeBulkCreation"),
            "done": False,
            "codes": [],
            "codesCount": len(codes),
            "importedCount": 0,
            "failedCount": 0,
        }
        self._batches[batch["id"]] = batch
        self._later(lambda: self._run_bulk(batch, given["discountId"], codes))
        return {"bulkCreation": batch, "userErrors": []}

    def _run_bulk(self, batch: dict[str, Any], node_id: str, codes: list[str]) -> None:
        for code in codes:
            error = self._taken(code) if node_id in self.nodes else _error("INVALID", "is gone")
            made = None if error else self._make(node_id, code)
            batch["codes"].append(
                {"code": code, "errors": [error] if error else [], "discountRedeemCode": made}
            )
            batch["failedCount" if error else "importedCount"] += 1
        batch["done"] = True

    def _bulk(self, given: dict[str, Any]) -> dict[str, Any] | None:
        return self._batches.get(given["id"])

    def _bulk_delete(self, given: dict[str, Any]) -> dict[str, Any]:
        node, ids = self.nodes.get(given["discountId"]), set(given["ids"])
        if node is None or len(ids) > MOST_IDS:
            return {"job": None, "userErrors": [_error("INVALID", "Discount not found")]}

        def delete() -> None:
            node["codes"] = [code for code in node["codes"] if code["id"] not in ids]

        self._later(delete)
        return {"job": {"id": self._id("Job")}, "userErrors": []}

    def _deactivate(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["id"] not in self.nodes:
            return {"codeDiscountNode": None, "userErrors": [_error("INVALID", "not found")]}
        self.nodes[given["id"]]["is_active"] = False
        return {"codeDiscountNode": self._record(given["id"]), "userErrors": []}

    def _delete(self, given: dict[str, Any]) -> dict[str, Any]:
        gone = self.nodes.pop(given["id"], None)
        errors = [] if gone else [_error("INVALID", "not found")]
        return {"deletedCodeDiscountId": given["id"] if gone else None, "userErrors": errors}

    def _products(self, given: dict[str, Any]) -> dict[str, Any]:
        kind = given["query"].removeprefix("product_type:'").removesuffix("'")
        ids, start = self.products.get(kind, []), int(given.get("after") or 0)
        page = ids[start : start + given["first"]]
        end = start + len(page)
        info = {"hasNextPage": end < len(ids), "endCursor": str(end)}
        return {"nodes": [{"id": each} for each in page], "pageInfo": info}

    def _later(self, job: Callable[[], None]) -> None:
        self._jobs.append((time.monotonic() + self.delay, job))

    def _taken(self, code: str) -> dict[str, Any] | None:
        present = [each["code"] for node in self.nodes.values() for each in node["codes"]]
        if code.casefold() in {each.casefold() for each in present}:
            return _error("TAKEN", "Code must be unique. Please try a different code.")
        if self.limit is not None and len(present) >= self.limit:
            return _error("EXCEEDED_MAX", "The shop has reached its limit of discount codes.")
        return None

    def _make(self, node_id: str, code: str) -> dict[str, Any]:
        record = {"id": self._id("DiscountRedeemCode"), "code": code, "asyncUsageCount": 0}
        self.nodes[node_id]["codes"].append(record)
        self.created[code] += 1
        if not self.allowed(code):
            self.unapproved.append(code)
        return record


def value_of(node: dict[str, Any], amount: float) -> float:
    """Return what a discount takes off an amount; shipping costs nothing here."""
    value = (node.get("customerGets") or {}).get("value") or {}
    if "percentage" in value:
        return amount * float(value["percentage"])
    return min(amount, float((value.get("discountAmount") or {}).get("amount", 0)))


def _check(values: dict[str, Any]) -> None:
    if unknown := values.keys() - _KNOWN:
        name = sorted(unknown)[0]
        raise GraphqlError("argumentNotAccepted", f"InputObject doesn't accept argument '{name}'")
    context = values.get("context") or {}
    if len(context) > 1 or context.get("all", "ALL") != "ALL":
        raise GraphqlError("argumentNotAccepted", "context: give `all` or `customers`")
    if len(_customers_of(values)) > MOST_IDS or len(_products_of(values)) > MOST_IDS:
        raise GraphqlError("MAX_INPUT_SIZE_EXCEEDED", "The input array size is over 250")


def _is_for_all(values: dict[str, Any]) -> bool:
    return (values.get("context") or {}).get("all") == "ALL"


def _customers_of(values: dict[str, Any]) -> list[str]:
    return list(((values.get("context") or {}).get("customers") or {}).get("add", ()))


def _products_of(values: dict[str, Any]) -> list[str]:
    items = (values.get("customerGets") or {}).get("items") or {}
    return list((items.get("products") or {}).get("productsToAdd", ()))


def _has(node: dict[str, Any], code: str) -> bool:
    return any(each["code"].casefold() == code.casefold() for each in node["codes"])


def _error(code: str, message: str) -> dict[str, Any]:
    return {"field": [], "code": code, "message": message}


def _refusal(
    node: dict[str, Any], code: dict[str, Any], customer: str, subtotal: float, at: str
) -> str:
    minimum = ((node.get("minimumRequirement") or {}).get("subtotal") or {}).get(
        "greaterThanOrEqualToSubtotal", "0"
    )
    if not node["is_active"] or not node["startsAt"] <= at < node["endsAt"]:
        return "not active"
    if not node.get("is_for_all") and f"gid://shopify/Customer/{customer}" not in node["customers"]:
        return "not eligible"
    if code["asyncUsageCount"] >= node["usageLimit"] or customer in node["used_by"]:
        return "used"
    return "below the minimum" if subtotal < float(minimum) else ""
