"""Connect a Shopify shop through the GraphQL Admin API.

The first load uses bulk operations, and later pulls read what changed. An operation's id is part of
the watermark, so a pull that was killed continues with the same operation.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from retention import clock
from retention.connect import orders, signatures, web
from retention.connect import shopify_queries as queries
from retention.connect import shopify_records as records
from retention.connect.contract import ConnectorError, Notice, Page, Setting
from retention.connect.orders import Order, moment, need
from retention.connect.shopify_api import ShopifyApi

VERSION = "2026-07"
STREAMS = ("products", "customers", "orders")
RECORDS_PER_PAGE = 1_000  # of a bulk operation
# The index that answers `updated_at` is behind by up to some minutes.
OVERLAP = timedelta(minutes=5)
# A bulk operation of a large shop takes hours. The pull ends, and the next one continues. The time
# counts from the begin of the pull, because a job is killed after 15 minutes.
MAX_POLLING, LATER = 600.0, timedelta(minutes=10)  # seconds; pause until the next pull
# The codes of campaigns need the last one. It is asked for at once, not when a campaign waits.
_SCOPES = (
    "read_orders",
    "read_customers",
    "read_products",
    "read_inventory",
    "write_discounts",
)
_OVER = {"FAILED", "CANCELED", "EXPIRED"}
TOPICS = (
    "orders/create",
    "orders/updated",
    "customers/create",
    "customers/update",
    "customers_email_marketing_consent/update",
    "customers_marketing_consent/update",  # to SMS
    "products/create",
    "products/update",
)


class Shopify:
    """One Shopify shop.

    Parameters
    ----------
    access : mapping
        Settings and secrets by name (`retention.connect.connections.Access`).
    """

    kind = "shopify"
    signed_with = "client_secret"  # setting that signs the webhooks
    settings = (
        Setting("shop", example="my-shop.myshopify.com"),
        Setting("client_id", is_required=False, example="0a1b2c…"),
        # It also signs the webhooks.
        Setting("client_secret", is_secret=True, is_required=False, example="shpss_…"),
        Setting("token", is_secret=True, is_required=False, example="shpat_…"),
        Setting("version", is_required=False, example=VERSION),
        Setting("since", is_required=False, example="2025-01-01"),
    )

    def __init__(self, access: Any) -> None:
        self._shop = access["shop"]
        self._secret = access["client_secret"]
        self._since = access["since"]
        self._access, self._version = access, access["version"] or VERSION
        self._page_sizes: dict[str, int] = {}
        self._polls_until = float("inf")

    @cached_property
    def _api(self) -> ShopifyApi:  # a server that only verifies webhooks needs no client
        return ShopifyApi(self._access, self._version)

    @property
    def domain(self) -> str:
        """Domain of the shop."""
        return urlsplit(self._shop).netloc if "://" in self._shop else self._shop

    def close(self) -> None:
        """Close the connections."""
        if "_api" in self.__dict__:
            self._api.close()

    def check(self) -> dict[str, str]:
        """Ask Shopify whether the token works and has all scopes."""
        data = self._api.query(queries.CHECK)
        shop = need(data, "shop")
        granted = {
            scope["handle"]
            for scope in (data.get("currentAppInstallation") or {}).get("accessScopes") or ()
        }
        # The right to write includes the right to read.
        missing = [
            scope for scope in _SCOPES if not {scope, scope.replace("read", "write")} & granted
        ]
        if missing:
            raise ConnectorError("scope_missing", ", ".join(missing))
        facts = {"name": str(need(shop, "name")), "currency": str(need(shop, "currencyCode"))}
        if "read_all_orders" not in granted:
            facts["orders"] = "60 days"  # Shopify shows older orders with read_all_orders only
        return facts

    # ------------------------------------------------------------ pull

    def pull(self, watermark: Mapping[str, Any]) -> Iterator[Page]:
        """Read what changed since a watermark; an empty one reads all.

        Each page has the watermark of all streams.
        """
        state = {name: dict(watermark.get(name) or {}) for name in STREAMS}
        self._polls_until = time.monotonic() + MAX_POLLING
        for stream in STREAMS:
            if "updated_at" not in state[stream]:
                yield from self._first_load(stream, state)
            yield from self._changes(stream, state)

    def _changes(self, stream: str, state: dict[str, Any]) -> Iterator[Page]:
        """Read the records that changed, in the order of their change."""
        since = moment(state[stream]["updated_at"], "watermark") - OVERLAP
        condition = f"updated_at:>='{since:%Y-%m-%dT%H:%M:%SZ}'"
        for nodes in self._changed(stream, condition):
            if nodes:
                newest = max(moment(need(node, "updatedAt"), "updatedAt") for node in nodes)
                known = moment(state[stream]["updated_at"], "watermark")
                after = {**state, stream: {"updated_at": max(newest, known).isoformat()}}
                yield from self._rows(stream, nodes, state, after)
                state.update(after)

    def _changed(self, stream: str, condition: str) -> Iterator[list[dict[str, Any]]]:
        """Read the pages of changed records, as large as Shopify's highest cost allows."""
        while True:
            size = self._page_sizes.setdefault(stream, queries.LARGEST_PAGE)
            variables = {"query": condition, "first": size}
            pages = self._pages(queries.changed(stream), stream, variables)
            try:
                first = next(pages)
            except ConnectorError as error:
                if "MAX_COST_EXCEEDED" not in error.detail or size == 1:
                    raise
                self._page_sizes[stream] = size // 2
                continue
            yield first
            yield from pages
            return

    def _pages(
        self, query: str, name: str, variables: Mapping[str, Any], *, below: str | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Read all pages of a connection."""
        after = None
        while True:
            data = self._api.query(query, {**variables, "after": after})
            connection = need(need(data, below) if below else data, name)
            nodes, info = need(connection, "nodes"), need(connection, "pageInfo")
            yield nodes
            if not need(info, "hasNextPage"):
                return
            if not nodes or info.get("endCursor") in (None, after):
                raise ConnectorError("changed_schema", f"{name}: a page is missing")
            after = info["endCursor"]

    # ------------------------------------------------------------ first load

    def _first_load(self, stream: str, state: dict[str, Any]) -> Iterator[Page]:
        position = state[stream]
        if "operation" not in position:
            operation = self._start_bulk(stream)
            position = {
                "operation": need(operation, "id"),
                "started_at": need(operation, "createdAt"),
                "done": 0,
            }
            state[stream] = position
            yield self._empty(stream, state)
        operation = self._await_bulk(position["operation"])
        status = need(operation, "status")
        if status in _OVER:
            state[stream] = {}
            yield self._empty(stream, state)  # the next pull starts a new operation
            code = operation.get("errorCode")
            raise ConnectorError(
                "scope_missing" if code == "ACCESS_DENIED" else "unavailable",
                f"bulk operation {status} {code or ''}".strip(),
            )
        if url := operation.get("url"):
            with web.downloaded(url) as file:
                found = islice(_grouped(file), position["done"], None)
                while chunk := list(islice(found, RECORDS_PER_PAGE)):
                    done = state[stream]["done"] + len(chunk)
                    after = {**state, stream: {**state[stream], "done": done}}
                    yield from self._rows(stream, chunk, state, after)
                    state.update(after)
        state[stream] = {"updated_at": moment(position["started_at"], "createdAt").isoformat()}
        yield self._empty(stream, state)

    def _start_bulk(self, stream: str) -> dict[str, Any]:
        """Start a bulk operation, or find the one that a lost answer was about."""
        condition = f"created_at:>={self._since}" if stream == "orders" and self._since else ""
        query = queries.bulk(stream, condition)
        for operation in need(
            need(self._api.query(queries.RECENT_BULK), "bulkOperations"), "nodes"
        ):
            if operation.get("query") == query and operation["status"] in ("CREATED", "RUNNING"):
                return dict(operation)
        data = self._api.query(queries.RUN_BULK, {"query": query})
        answer = need(data, "bulkOperationRunQuery")
        if answer.get("bulkOperation"):
            return dict(answer["bulkOperation"])
        errors = need(answer, "userErrors")
        first = errors[0] if errors else {}
        if first.get("code") == "OPERATION_IN_PROGRESS" or "in progress" in str(first):
            raise ConnectorError(
                "rate_limited", "another bulk operation runs", retry_at=clock.wall() + LATER
            )
        raise ConnectorError("refused", str(first.get("message", ""))[:200])

    def _await_bulk(self, operation_id: str) -> dict[str, Any]:
        pause = 0.2
        while True:
            node = need(self._api.query(queries.BULK_OPERATION, {"id": operation_id}), "node")
            if node is None:  # results are kept for seven days
                return {"status": "EXPIRED"}
            if need(node, "status") == "COMPLETED" or node["status"] in _OVER:
                return dict(node)
            if time.monotonic() > self._polls_until:
                raise ConnectorError(
                    "rate_limited", "the bulk operation still runs", retry_at=clock.wall() + LATER
                )
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    # ------------------------------------------------------------ rows

    def _rows(
        self,
        stream: str,
        nodes: Sequence[dict[str, Any]],
        before: Mapping[str, Any],
        after: Mapping[str, Any],
    ) -> Iterator[Page]:
        """Yield the pages of some records; the last one moves the watermark."""
        if stream == "customers":
            yield Page("customers", [records.customer_row(node) for node in nodes], dict(after))
        elif stream == "products":
            rows = [
                row
                for node in nodes
                for row in records.item_rows(node, self._children(node, "variants"))
            ]
            yield Page("items", rows, dict(after))
        else:
            found = [order for node in nodes if (order := self._order(node))]
            if guests := orders.guests(found):
                yield Page("customers", guests, dict(before))
            yield Page("events", _events(found), dict(after))

    def _order(self, node: dict[str, Any]) -> Order | None:
        refunds = self._refunds(need(node, "id")) if need(node, "refunds") else []
        return records.order(node, self._children(node, "lineItems"), refunds)

    def _children(self, node: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """Return all children of a record, of which a page has the first ones."""
        connection = need(node, name)
        if isinstance(connection, list):  # a bulk operation has them all
            return connection
        nodes = list(need(connection, "nodes"))
        info = need(connection, "pageInfo")
        if info["hasNextPage"]:
            query = queries.children(name)
            variables = {"id": node["id"]}
            nodes = [
                child
                for page in self._pages(query, name, variables, below="node")
                for child in page
            ]
        return nodes

    def _refunds(self, order_id: str) -> list[dict[str, Any]]:
        node = need(self._api.query(queries.REFUNDS, {"id": order_id}), "node")
        return [
            {**refund, "refundLineItems": self._children(refund, "refundLineItems")}
            for refund in need(node, "refunds")
        ]

    def _empty(self, stream: str, state: Mapping[str, Any]) -> Page:
        """Return a page that only moves the watermark."""
        tables = {"products": "items", "customers": "customers", "orders": "events"}
        return Page(tables[stream], (), {name: dict(state[name]) for name in STREAMS})  # type: ignore[arg-type]

    # ------------------------------------------------------------ webhooks

    def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the delivery's id."""
        return signatures.verify_delivery(
            self._secret,
            headers,
            body,
            signature="x-shopify-hmac-sha256",
            delivery="x-shopify-webhook-id",
        )

    def topic(self, headers: Mapping[str, str]) -> str:
        """Return what a delivery is about."""
        return headers.get("x-shopify-topic", "")

    def read(self, topic: str, body: bytes, delivery_id: str) -> Notice:
        """Read a verified delivery; one of another topic says nothing."""
        content = web.parse_json(body)
        if not isinstance(content, dict):
            raise ConnectorError("changed_schema", "the delivery is no object")
        if topic == "customers/redact":
            ids = records.privacy_ids(content, self.domain, "orders_to_redact")
            return Notice(delivery_id, topic, forget=ids)
        if topic == "customers/data_request":
            ids = records.privacy_ids(content, self.domain, "orders_requested")
            return Notice(delivery_id, topic, export=ids)
        if topic == "shop/redact":
            records.privacy_ids(content, self.domain, "shop_id")
            if set(content) - {"shop_id", "shop_domain"}:
                raise ConnectorError("refused", "not a privacy request of this shop")
            return Notice(delivery_id, topic, forget_all=True)
        return Notice(delivery_id, topic, pages=_hook_pages(topic, content))

    def add_webhooks(self, address: str) -> dict[str, int]:
        """Subscribe to all topics; repeating adds nothing.

        The privacy topics are part of the app's own settings at Shopify.

        Parameters
        ----------
        address : str
            Address for the deliveries.

        Returns
        -------
        dict
            Numbers of ``added`` and ``present`` subscriptions.
        """
        names = {topic.upper().replace("/", "_"): topic for topic in TOPICS}
        known = {
            node.get("topic")
            for page in self._pages(queries.WEBHOOKS, "webhookSubscriptions", {})
            for node in page
            if node.get("uri") == address
        }
        added = 0
        for name in names:
            if name in known:
                continue
            variables = {"topic": name, "webhook": {"uri": address, "format": "JSON"}}
            answer = need(
                self._api.query(queries.ADD_WEBHOOK, variables), "webhookSubscriptionCreate"
            )
            if errors := need(answer, "userErrors"):
                raise ConnectorError("refused", str(errors[0].get("message", ""))[:200])
            added += 1
        return {"added": added, "present": len(names) - added}


def _events(found: Sequence[Order]) -> list[dict[str, Any]]:
    return [event for order in found for event in orders.events(order, records.SOURCE)]


def _hook_pages(topic: str, content: dict[str, Any]) -> list[Page]:
    if topic in ("orders/create", "orders/updated", "orders/cancelled"):
        order = records.hook_order(content)
        found = [order] if order else []
        guests = orders.guests(found)
        pages = [Page("customers", guests, {})] if guests else []
        return [*pages, Page("events", _events(found), {})]
    if topic in ("customers/create", "customers/update"):
        return [Page("customers", [records.hook_customer(content)], {})]
    if topic == "customers_email_marketing_consent/update":
        return [Page("customers", [records.hook_consent(content)], {})]
    if topic == "customers_marketing_consent/update":
        return [Page("customers", [records.hook_consent(content, "sms_consent")], {})]
    if topic in ("products/create", "products/update"):
        return [Page("items", records.hook_items(content), {})]
    return []


def _grouped(
    lines: Iterable[bytes],
) -> Iterator[dict[str, Any]]:
    """Yield each record of a JSONL file with the lists of its children.

    A child follows its parent and names it in ``__parentId``. Its id tells its type.
    """
    kinds = {"LineItem": "lineItems", "ProductVariant": "variants"}
    current: dict[str, Any] | None = None
    for line in lines:
        if not line.strip():
            continue
        record = web.parse_json(line)
        parent = record.pop("__parentId", None)
        if parent is None:
            if current is not None:
                yield current
            current = {**record, "lineItems": [], "variants": []}
            continue
        kind = str(need(record, "id")).split("/")[-2]
        if current is None or current["id"] != parent or kind not in kinds:
            raise ConnectorError("changed_schema", f"a {kind} without its parent")
        current[kinds[kind]].append(record)
    if current is not None:
        yield current
