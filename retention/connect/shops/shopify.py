"""Connect a Shopify shop through the GraphQL Admin API.

The first load uses bulk operations, and later pulls read what changed. An operation's id is part of
the watermark, so a pull that was killed continues with the same operation.

Shopify gives each app a bucket of points. A query costs points, and the bucket fills up again by
the second (https://shopify.dev/docs/api/usage/limits).
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from retention import clock
from retention.connect import web
from retention.connect.contract import ConnectorError, ErrorCode, Notice, Page, Setting
from retention.connect.shops import shopify_queries as queries
from retention.connect.shops import shopify_records as records
from retention.connect.shops.connector import ShopConnector, parse_delivery
from retention.connect.shops.orders import Order, moment, need
from retention.errors import BadInput
from retention.text import gettext

VERSION = "2026-07"
STREAMS = ("products", "customers", "orders")
RECORDS_PER_PAGE = 1_000  # of a bulk operation
# The index that answers `updated_at` is behind by up to some minutes.
OVERLAP = timedelta(minutes=5)
# A bulk operation of a large shop takes hours. The pull ends, and the next one continues. The time
# counts from the begin of the pull, because a job is killed after 15 minutes.
MAX_POLLING, LATER = 600.0, timedelta(minutes=10)  # seconds; pause until the next pull
# The codes of campaigns need the last one. It is asked for at once, not when a campaign waits.
_SCOPES = ("read_orders", "read_customers", "read_products", "read_inventory", "write_discounts")
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

EARLY = timedelta(minutes=5)  # a token is renewed so long before it ends
_NO_FIELD = re.compile(r"Field '(\w+)' doesn't exist on type '(\w+)'")


class ShopifyApi:
    """The GraphQL Admin API of one shop.

    `access`: settings and secrets of a connection. ``shop`` is a domain such as
    ``my-shop.myshopify.com``, or an address on this machine. ``client_id`` and ``client_secret``
    give a token for a day; apps from before 2026 have a ``token`` that lasts.
    """

    def __init__(self, access: Any, version: str) -> None:
        shop = access["shop"]
        base = web.check_address(shop if "://" in shop else f"https://{shop}", "shop")
        self._client = {"client_id": access["client_id"], "client_secret": access["client_secret"]}
        self._token, self._ends_at = access["token"], datetime.max.replace(tzinfo=UTC)
        if not self._token and not all(self._client.values()):
            message = gettext(
                "The access to Shopify is incomplete; give client_id and client_secret, or the "
                "token of an app from before 2026."
            )
            raise BadInput(message, field="client_id")
        self._api = web.Api(base, {})
        self._path = f"/admin/api/{version}/graphql.json"
        self._available = self._rate = float("inf")

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def query(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a query or mutation; wait and repeat while the bucket is empty.

        Shopify does nothing of a request that it refuses for its cost, so repeating it is safe.

        Returns: the answer's ``data``.
        """
        return web.when_allowed(lambda: self._call(query, variables))

    def pages(
        self, query: str, variables: Mapping[str, Any], *path: str, may_be_gone: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the nodes of each page of a connection.

        `path`: keys that lead to the connection.
        `may_be_gone`: the first record of the path may be deleted, and then has no page.
        """
        after = None
        while True:
            connection: Any = self.query(query, {**variables, "after": after})
            if may_be_gone and need(connection, path[0]) is None:
                return
            for key in path:
                connection = need(connection, key)
            nodes, info = need(connection, "nodes"), need(connection, "pageInfo")
            yield nodes
            if not need(info, "hasNextPage"):
                return
            if not nodes or info.get("endCursor") in (None, after):
                raise ConnectorError("changed_schema", f"{path[-1]}: a page is missing")
            after = info["endCursor"]

    def _call(self, query: str, variables: Mapping[str, Any] | None) -> dict[str, Any]:
        body = {"query": query, "variables": dict(variables or {})}
        headers = {"X-Shopify-Access-Token": self._current_token()}
        answer = self._api.json("POST", self._path, body=body, headers=headers)
        cost = (answer.get("extensions") or {}).get("cost") or {}
        status = cost.get("throttleStatus") or {}
        self._available = float(status.get("currentlyAvailable", self._available))
        self._rate = float(status.get("restoreRate", self._rate)) or 1.0
        if errors := answer.get("errors"):
            raise self._refusal(errors, float(cost.get("requestedQueryCost") or 0))
        data: dict[str, Any] = need(answer, "data")
        return data

    def _current_token(self) -> str:
        """Return the access token; exchange the app's credentials for one if there is none."""
        if not self._token or clock.wall() > self._ends_at - EARLY:
            body = {**self._client, "grant_type": "client_credentials"}
            answer = self._api.json("POST", "/admin/oauth/access_token", body=body)
            self._token = str(need(answer, "access_token"))
            self._ends_at = clock.wall() + timedelta(seconds=float(need(answer, "expires_in")))
        return str(self._token)

    def _refusal(self, errors: Any, cost: float) -> ConnectorError:
        # Shopify sends a list; some refusals of the whole request are one text.
        first: dict[str, Any] = errors[0] if isinstance(errors, list) else {"message": str(errors)}
        code = str((first.get("extensions") or {}).get("code", ""))
        message = str(first.get("message", ""))
        if code == "THROTTLED":
            wait = timedelta(seconds=max(cost - self._available, 1.0) / self._rate)
            return ConnectorError("rate_limited", "THROTTLED", retry_at=clock.wall() + wait)
        if code == "ACCESS_DENIED":
            return ConnectorError("scope_missing", message[:200])
        if field := _NO_FIELD.search(message):
            return ConnectorError("changed_schema", f"{field[2]}.{field[1]}")
        if code in ("undefinedField", "argumentNotAccepted"):
            return ConnectorError("changed_schema", message[:200])
        if code in ("INTERNAL_SERVER_ERROR", "TIMEOUT"):
            return ConnectorError("unavailable", code)
        return ConnectorError("refused", f"{code}: {message}"[:200])


class Shopify(ShopConnector):
    """One Shopify shop."""

    kind = "shopify"
    signed_with = "client_secret"  # setting that signs the webhooks
    headers = "x-shopify-hmac-sha256", "x-shopify-webhook-id", "x-shopify-topic"
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
        self._shop, self._since = access["shop"], access["since"]
        self._secret = access["client_secret"]
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

    def check(self) -> dict[str, str]:
        """Ask Shopify whether the token works and has all scopes."""
        data = self._api.query(queries.CHECK)
        shop = need(data, "shop")
        scopes = (data.get("currentAppInstallation") or {}).get("accessScopes") or ()
        granted = {scope["handle"] for scope in scopes}
        # The right to write includes the right to read.
        either = {scope: {scope, scope.replace("read", "write")} for scope in _SCOPES}
        if missing := [scope for scope in _SCOPES if not either[scope] & granted]:
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
            pages = self._api.pages(queries.changed(stream), variables, stream)
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

    # ------------------------------------------------------------ first load

    def _first_load(self, stream: str, state: dict[str, Any]) -> Iterator[Page]:
        position = state[stream]
        if "operation" not in position:
            operation = self._start_bulk(stream)
            started_at = need(operation, "createdAt")
            position = {"operation": need(operation, "id"), "started_at": started_at, "done": 0}
            state[stream] = position
            yield self._empty(stream, state)
        operation = self._await_bulk(position["operation"])
        status = need(operation, "status")
        if status in _OVER:
            state[stream] = {}
            yield self._empty(stream, state)  # the next pull starts a new operation
            reason = operation.get("errorCode") or ""
            code: ErrorCode = "scope_missing" if reason == "ACCESS_DENIED" else "unavailable"
            raise ConnectorError(code, f"bulk operation {status} {reason}".strip())
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
        recent = need(self._api.query(queries.RECENT_BULK), "bulkOperations")
        for operation in need(recent, "nodes"):
            if operation.get("query") == query and operation["status"] in ("CREATED", "RUNNING"):
                return dict(operation)
        data = self._api.query(queries.RUN_BULK, {"query": query})
        answer = need(data, "bulkOperationRunQuery")
        if answer.get("bulkOperation"):
            return dict(answer["bulkOperation"])
        errors = need(answer, "userErrors")
        first = errors[0] if errors else {}
        if first.get("code") == "OPERATION_IN_PROGRESS" or "in progress" in str(first):
            raise _is_busy("another bulk operation runs")
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
                raise _is_busy("the bulk operation still runs")
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    # ------------------------------------------------------------ rows

    def _customer(self, record: dict[str, Any]) -> dict[str, Any]:
        return records.customer_row(record)

    def _items(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return records.item_rows(record, self._children(record, "variants"))

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
            pages = self._api.pages(queries.children(name), {"id": node["id"]}, "node", name)
            nodes = [child for page in pages for child in page]
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

    def read(self, topic: str, body: bytes, delivery_id: str) -> Notice:
        """Read a verified delivery; one of another topic says nothing."""
        content = parse_delivery(body)
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
        return Notice(delivery_id, topic, pages=[*self._hook_pages(topic, content)])

    def _hook_pages(self, topic: str, content: dict[str, Any]) -> Iterator[Page]:
        if topic not in (*TOPICS, "orders/cancelled"):
            return
        if topic.startswith("orders/"):
            yield from self._sold([records.hook_order(content)], {}, {})
        elif topic.startswith("products/"):
            yield Page("items", records.hook_items(content), {})
        elif topic.endswith("consent/update"):
            column = "marketing_consent" if "email" in topic else "sms_consent"
            yield Page("customers", [records.hook_consent(content, column)], {})
        else:
            yield Page("customers", [records.hook_customer(content)], {})

    def add_webhooks(self, address: str) -> dict[str, int]:
        """Subscribe to all topics; repeating adds nothing.

        The privacy topics are part of the app's own settings at Shopify.

        Returns: numbers of ``added`` and ``present`` subscriptions.
        """
        names = [topic.upper().replace("/", "_") for topic in TOPICS]
        known = {
            node.get("topic")
            for page in self._api.pages(queries.WEBHOOKS, {}, "webhookSubscriptions")
            for node in page
            if node.get("uri") == address
        }
        missing = [name for name in names if name not in known]
        for name in missing:
            variables = {"topic": name, "webhook": {"uri": address, "format": "JSON"}}
            answer = self._api.query(queries.ADD_WEBHOOK, variables)
            if errors := need(need(answer, "webhookSubscriptionCreate"), "userErrors"):
                raise ConnectorError("refused", str(errors[0].get("message", ""))[:200])
        return {"added": len(missing), "present": len(names) - len(missing)}


def _is_busy(detail: str) -> ConnectorError:
    return ConnectorError("rate_limited", detail, retry_at=clock.wall() + LATER)


def _grouped(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
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
