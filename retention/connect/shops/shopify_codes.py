"""Make discount codes in a Shopify shop.

A discount has many codes. Shopify finds a discount by its code at once, but by its title only after
a while, so the first code identifies it. Codes are added by an asynchronous job.

Shopify allows a discount to accounts, or to everyone. Guests have a discount of their own for
everyone; each of its codes is valid once.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from retention.connect.contract import CodeBatch, ConnectorError, Discount, DiscountCode, chunks
from retention.connect.shops.orders import need
from retention.connect.shops.shopify import VERSION, ShopifyApi
from retention.text import gettext

BATCH = 250  # of codes, customers and products in one request
_LIMITS = {"EXCEEDED_MAX", "MAX_APP_DISCOUNTS"}
_TYPES = ("DiscountCodeBasic", "DiscountCodeFreeShipping")
_ERRORS = "userErrors { field message code }"
_FIND = """query ($code: String!) { codeDiscountNodeByCode(code: $code) { id codeDiscount {
  ... on DiscountCodeBasic { title } ... on DiscountCodeFreeShipping { title } } } }"""
_CREATE = f"""mutation ($input: DiscountCodeBasicInput!) {{
  discountCodeBasicCreate(basicCodeDiscount: $input) {{ codeDiscountNode {{ id }} {_ERRORS} }} }}"""
_CREATE_FREE = f"""mutation ($input: DiscountCodeFreeShippingInput!) {{
  discountCodeFreeShippingCreate(freeShippingCodeDiscount: $input) {{
    codeDiscountNode {{ id }} {_ERRORS} }} }}"""
_UPDATE = f"""mutation ($id: ID!, $input: DiscountCodeBasicInput!) {{
  discountCodeBasicUpdate(id: $id, basicCodeDiscount: $input) {{
    codeDiscountNode {{ id }} {_ERRORS} }} }}"""
_UPDATE_FREE = f"""mutation ($id: ID!, $input: DiscountCodeFreeShippingInput!) {{
  discountCodeFreeShippingUpdate(id: $id, freeShippingCodeDiscount: $input) {{
    codeDiscountNode {{ id }} {_ERRORS} }} }}"""
_ADD = f"""mutation ($id: ID!, $codes: [DiscountRedeemCodeInput!]!) {{
  discountRedeemCodeBulkAdd(discountId: $id, codes: $codes) {{
    bulkCreation {{ id done }} {_ERRORS} }} }}"""
_DONE = """query ($id: ID!) { discountRedeemCodeBulkCreation(id: $id) { id done failedCount } }"""
# Costs most of what one query may cost, so it is asked only if some codes failed.
_BATCH = """query ($id: ID!) { discountRedeemCodeBulkCreation(id: $id) { id done
  codes(first: 250) { nodes { code errors { code message } discountRedeemCode { id } } } } }"""
_CODES = """codes(first: 250, after: $after) {
  nodes { id code asyncUsageCount } pageInfo { hasNextPage endCursor } }"""
_LIST = f"""query ($id: ID!, $after: String) {{ codeDiscountNode(id: $id) {{ codeDiscount {{
  {" ".join(f"... on {name} {{ {_CODES} }}" for name in _TYPES)} }} }} }}"""
_DELETE_CODES = f"""mutation ($id: ID!, $ids: [ID!]!) {{
  discountCodeRedeemCodeBulkDelete(discountId: $id, ids: $ids) {{ job {{ id }} {_ERRORS} }} }}"""
_END = f"""mutation ($id: ID!) {{ discountCodeDeactivate(id: $id) {{
  codeDiscountNode {{ id }} {_ERRORS} }} }}"""
_DELETE = f"""mutation ($id: ID!) {{ discountCodeDelete(id: $id) {{
  deletedCodeDiscountId {_ERRORS} }} }}"""
_PRODUCTS = """query ($query: String!, $after: String) {
  products(first: 250, query: $query, after: $after) {
    nodes { id } pageInfo { hasNextPage endCursor } } }"""


class ShopifyCodes:
    """The discount codes of one Shopify shop.

    `access`: settings and secrets by name (`retention.connect.connections.Access`). The token needs
    the scope ``write_discounts``.
    """

    batch_size = BATCH
    needs_email = False

    def __init__(self, access: Any) -> None:
        self._api = ShopifyApi(access, access["version"] or VERSION)
        self._ids: dict[str, str] = {}  # of codes as listed
        self._asked: dict[str, list[str]] = {}  # codes by batch

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def refusal(self, code: DiscountCode) -> str:
        """Return why the shop cannot have this code; empty if it can."""
        if code.customer_id.isdigit():
            return ""
        return gettext("the customer has no account at the shop")

    def find_discount(self, reference: str, first: DiscountCode) -> str | None:
        """Return the id of a discount that an earlier attempt created."""
        node = self._api.query(_FIND, {"code": first.code}).get("codeDiscountNodeByCode")
        if node is None or reference not in str(need(node, "codeDiscount").get("title")):
            return None
        return str(need(node, "id"))

    def create_discount(self, discount: Discount, first: DiscountCode) -> str:
        """Create a discount with its first code."""
        is_free, own = discount.kind == "free_shipping", {"add": [_customer(first.customer_id)]}
        values: dict[str, Any] = {
            "title": discount.title,
            "code": first.code,
            "startsAt": f"{discount.starts_at:%Y-%m-%dT%H:%M:%SZ}",
            "endsAt": f"{discount.ends_at:%Y-%m-%dT%H:%M:%SZ}",
            "usageLimit": 1,  # of each code
            "appliesOncePerCustomer": True,
            "context": {"all": "ALL"} if discount.is_for_guests else {"customers": own},
        }
        if discount.minimum:
            minimum = {"greaterThanOrEqualToSubtotal": f"{discount.minimum:.2f}"}
            values["minimumRequirement"] = {"subtotal": minimum}
        if is_free:
            values["destination"] = {"all": True}
        else:
            products = self._products(discount.category)[:BATCH]
            limited = {"products": {"productsToAdd": products}}
            items = limited if discount.category else {"all": True}
            values["customerGets"] = {"value": _value(discount), "items": items}
        field = "discountCodeFreeShippingCreate" if is_free else "discountCodeBasicCreate"
        answer = self._changed(_CREATE_FREE if is_free else _CREATE, field, {"input": values})
        return str(need(need(answer, "codeDiscountNode"), "id"))

    def allow(self, discount_id: str, discount: Discount, customers: Sequence[str]) -> None:
        """Let these customers use the discount, each once."""
        accounts = [_customer(each) for each in customers if each.isdigit()]
        for ids in chunks(accounts, BATCH):
            self._update(discount_id, discount, {"context": {"customers": {"add": ids}}})
        for products in chunks(self._products(discount.category)[BATCH:], BATCH):
            items = {"products": {"productsToAdd": products}}
            self._update(discount_id, discount, {"customerGets": {"items": items}})

    def add_codes(
        self, discount_id: str, discount: Discount, codes: Sequence[DiscountCode]
    ) -> CodeBatch:
        """Ask for up to 250 codes; Shopify makes them later."""
        variables = {"id": discount_id, "codes": [{"code": code.code} for code in codes]}
        answer = self._changed(_ADD, "discountRedeemCodeBulkAdd", variables)
        batch_id = str(need(need(answer, "bulkCreation"), "id"))
        self._asked[batch_id] = [code.code for code in codes]
        return CodeBatch(batch_id, is_done=False)

    def batch(self, batch_id: str) -> CodeBatch:
        """Return which codes of a batch exist."""
        field = "discountRedeemCodeBulkCreation"
        state = self._api.query(_DONE, {"id": batch_id}).get(field)
        if state is None:  # Shopify has forgotten it; the list of codes tells the rest
            return CodeBatch(batch_id)
        if not need(state, "done"):
            return CodeBatch(batch_id, is_done=False)
        if not need(state, "failedCount") and batch_id in self._asked:
            return CodeBatch(batch_id, made=self._asked[batch_id])
        answer = need(self._api.query(_BATCH, {"id": batch_id}), field)
        made, failed, limit = [], {}, ""
        for node in need(need(answer, "codes"), "nodes"):
            errors = node.get("errors") or []
            if any(error.get("code") in _LIMITS for error in errors):
                limit = str(errors[0].get("message"))[:200]
            elif errors:
                failed[str(need(node, "code"))] = str(errors[0].get("message"))[:200]
            else:
                made.append(str(need(node, "code")))
        return CodeBatch(batch_id, made=made, failed=failed, limit=limit)

    def codes(self, discount_id: str) -> Iterator[tuple[str, int]]:
        """Yield each code of a discount and how often it was used."""
        path = "codeDiscountNode", "codeDiscount", "codes"
        for page in self._api.pages(_LIST, {"id": discount_id}, *path, may_be_gone=True):
            for code in page:
                self._ids[str(need(code, "code"))] = str(need(code, "id"))
                yield str(code["code"]), int(need(code, "asyncUsageCount"))

    def end_discount(self, discount_id: str) -> None:
        """Make all codes of a discount invalid at once."""
        self._changed(_END, "discountCodeDeactivate", {"id": discount_id}, may_be_gone=True)

    def delete_codes(self, discount_id: str, codes: Sequence[str]) -> None:
        """Delete codes that `codes` has listed; Shopify deletes them later."""
        ids = [self._ids[code] for code in codes if code in self._ids]
        if ids:
            variables = {"id": discount_id, "ids": ids}
            field = "discountCodeRedeemCodeBulkDelete"
            self._changed(_DELETE_CODES, field, variables, may_be_gone=True)

    def delete_discount(self, discount_id: str) -> None:
        self._changed(_DELETE, "discountCodeDelete", {"id": discount_id}, may_be_gone=True)

    def _update(self, discount_id: str, discount: Discount, values: Mapping[str, Any]) -> None:
        is_free = discount.kind == "free_shipping"
        field = "discountCodeFreeShippingUpdate" if is_free else "discountCodeBasicUpdate"
        variables = {"id": discount_id, "input": values}
        self._changed(_UPDATE_FREE if is_free else _UPDATE, field, variables)

    def _products(self, category: str) -> list[str]:
        """Ids of the products of a category; a coupon that is limited to none would be for all."""
        if not category:
            return []
        escaped = category.replace("\\", "\\\\").replace("'", "\\'")
        query = {"query": f"product_type:'{escaped}'"}
        pages = self._api.pages(_PRODUCTS, query, "products")
        if not (ids := [str(need(node, "id")) for page in pages for node in page]):
            raise ConnectorError("refused", f"no product of type {category!r}")
        return ids

    def _changed(
        self, mutation: str, field: str, variables: Mapping[str, Any], *, may_be_gone: bool = False
    ) -> dict[str, Any]:
        answer: dict[str, Any] = need(self._api.query(mutation, variables), field)
        for error in answer.get("userErrors") or ():
            code, message = str(error.get("code")), str(error.get("message"))[:200]
            if code in _LIMITS:
                raise ConnectorError("plan_limit", message)
            if not (may_be_gone and code in ("INVALID", "NOT_FOUND")):
                raise ConnectorError("refused", f"{field}: {message}")
        return answer


def _customer(number: str) -> str:
    return f"gid://shopify/Customer/{number}"


def _value(discount: Discount) -> dict[str, Any]:
    if discount.kind == "percent":
        return {"percentage": float(discount.value / Decimal(100))}
    amount = {"amount": f"{discount.value:.2f}", "appliesOnEachItem": False}
    return {"discountAmount": amount}
