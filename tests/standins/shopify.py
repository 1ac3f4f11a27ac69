"""Stand in for Shopify: GraphQL Admin API 2026-07, bulk operations and webhooks.

Written from https://shopify.dev/docs/api (version 2026-07). ``python -m tests.standins.shopify
--port 8090`` serves a small shop. Discounts are in
`tests.standins.shopify_discounts`.
"""

import argparse
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from retention.demo import graphql
from retention.demo.graphql import Field, GraphqlError
from tests.standins.server import Answer, Call, StandIn, renamed, signature
from tests.standins.shopify_data import Records, rest

VERSION = "2026-07"
TOKEN, CLIENT_ID, SECRET = "shpat_test", "client-1", "shpss_test"
SCOPES = (
    *("read_orders", "read_all_orders", "read_customers", "read_products", "read_inventory"),
    "write_discounts",
)
MAX_COST = 1_000
STREAMS = ("orders", "customers", "products")

Mutation = Callable[[dict[str, Any]], dict[str, Any]]


class Shopify(StandIn):
    """A shop at Shopify."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.token, self.secret, self.scopes = TOKEN, SECRET, [*SCOPES]
        self.expires_in = 86_399  # seconds of a token
        self.records = Records()
        self.bucket, self.restore_rate = 2_000.0, 100.0
        self.available, self._filled_at = self.bucket, time.monotonic()
        self.polls_until_done = 2  # of a bulk operation
        self.operations: dict[str, dict[str, Any]] = {}
        self.results: dict[str, bytes] = {}
        self.subscriptions: list[dict[str, Any]] = []
        self.renamed: dict[str, str] = {}  # fields that the schema calls otherwise now
        self.mutations: dict[str, Mutation] = {
            "bulkOperationRunQuery": self._run_bulk,
            "webhookSubscriptionCreate": self._subscribe,
        }
        self._numbers = count(1)

    @property
    def domain(self) -> str:
        """Domain of the shop."""
        return self.url.removeprefix("http://")

    def respond(self, call: Call) -> Answer:
        """Answer a request."""
        if call.path.startswith("/results/"):
            result = self.results.get(call.path.removeprefix("/results/"))
            return Answer(404, {}) if result is None else Answer(200, result)
        if call.path == "/admin/oauth/access_token":
            return self._exchange(call.json())
        if call.path != f"/admin/api/{VERSION}/graphql.json":
            return Answer(404, {"errors": "Not Found"})
        if call.headers.get("x-shopify-access-token") != self.token:
            return Answer(401, {"errors": "[API] Invalid API key or access token"})
        request = call.json()
        try:
            kind, bound = graphql.parse(request["query"], request.get("variables") or {})
            points = self._check_cost(call, graphql.cost(bound))
            data = self._mutate(bound) if kind == "mutation" else self._query(call, bound)
            self.available -= graphql.objects(data)  # the rest of the requested cost is given back
        except GraphqlError as error:
            points = graphql.cost(bound) if "bound" in locals() else 0
            return Answer(200, {"errors": [_error(error)], "extensions": self._cost(points)})
        return Answer(200, {"data": data, "extensions": self._cost(points)})

    def _exchange(self, given: dict[str, str]) -> Answer:
        """Give an access token for the app's credentials."""
        known = (CLIENT_ID, self.secret, "client_credentials")
        if tuple(map(given.get, ("client_id", "client_secret", "grant_type"))) != known:
            return Answer(401, {"error": "invalid_client"})
        token = {"access_token": self.token, "expires_in": self.expires_in}
        return Answer(200, {**token, "scope": ",".join(self.scopes)})

    def _check_cost(self, call: Call, points: int) -> int:
        now = time.monotonic()
        filled = self.available + (now - self._filled_at) * self.restore_rate
        self.available, self._filled_at = min(self.bucket, filled), now
        if points > MAX_COST:
            raise GraphqlError("MAX_COST_EXCEEDED", f"Query cost is {points}, over {MAX_COST}")
        if points > self.available or self.take_fault(call, "throttled"):
            raise GraphqlError("THROTTLED", "Throttled")
        return points

    def _cost(self, points: int) -> dict[str, Any]:
        status = {"currentlyAvailable": int(self.available), "restoreRate": self.restore_rate}
        status["maximumAvailable"] = self.bucket
        return {"cost": {"requestedQueryCost": points, "throttleStatus": status}}

    # ------------------------------------------------------------ queries

    def root(self) -> dict[str, Any]:
        """Return the fields of a query."""
        return {
            "__typename": "QueryRoot",
            "shop": {
                "__typename": "Shop",
                "name": "Gift shop",
                "currencyCode": self.records.currency,
                "ianaTimezone": "Europe/London",
                "myshopifyDomain": self.domain,
            },
            "currentAppInstallation": {
                "__typename": "AppInstallation",
                "accessScopes": [
                    {"__typename": "AccessScope", "handle": scope} for scope in self.scopes
                ],
            },
            "bulkOperations": [*self.operations.values()][::-1],
            "webhookSubscriptions": self.subscriptions,
            **{stream: self._visible(stream) for stream in STREAMS},
        }

    def _visible(self, stream: str) -> list[dict[str, Any]]:
        return renamed([*getattr(self.records, stream).values()], self.renamed)

    def _query(self, call: Call, fields: list[Field]) -> dict[str, Any]:
        root = self.root()
        data: dict[str, Any] = {}
        for each in fields:
            self._check_scope(each.name)
            if each.name == "node":
                node = self._node(str(each.arguments["id"]))
                data["node"] = node and graphql.project(node, each.selection, self._select)
                continue
            data |= graphql.project(root, [each], self._select)
            if each.name in STREAMS and self.take_fault(call, "missing_page"):
                data[each.name]["nodes"] = []
        return data

    def _check_scope(self, name: str) -> None:
        if name in STREAMS and f"read_{name}" not in self.scopes:
            text = f"Access denied for {name} field. Required access: `read_{name}` access scope."
            raise GraphqlError("ACCESS_DENIED", text)

    def _node(self, gid: str) -> Any:
        if gid in self.operations:
            self._advance(self.operations[gid])
            return self.operations[gid]
        for stream in ("orders", "products", "customers"):
            for record in self._visible(stream):
                if record["id"] == gid:
                    return record
                for refund in record.get("refunds", ()):
                    if refund["id"] == gid:
                        return refund
        return None

    def _select(self, selected: Field, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = records
        for condition in str(selected.arguments.get("query") or "").split(" AND "):
            name, _, value = condition.partition(":>=")
            key = {"updated_at": "updatedAt", "created_at": "createdAt"}.get(name)
            if key and value:
                at = datetime.fromisoformat(value.strip("'"))
                at = at if at.tzinfo else at.replace(tzinfo=UTC)
                kept = [each for each in kept if datetime.fromisoformat(each[key]) >= at]
        if selected.arguments.get("sortKey") == "UPDATED_AT":
            kept = sorted(kept, key=lambda each: (each["updatedAt"], each["id"]))
        return kept

    # ------------------------------------------------------------ mutations

    def _mutate(self, fields: list[Field]) -> dict[str, Any]:
        data = {}
        for each in fields:
            if each.name not in self.mutations:
                text = f"Field '{each.name}' doesn't exist on type 'Mutation'"
                raise GraphqlError("undefinedField", text)
            payload = self.mutations[each.name](each.arguments)
            data[each.name] = graphql.project(payload, each.selection, self._select)
        return data

    def _run_bulk(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if any(each["status"] in ("CREATED", "RUNNING") for each in self.operations.values()):
            message = "A bulk query operation for this app and shop is already in progress"
            return _payload("bulkOperation", None, message, "OPERATION_IN_PROGRESS")
        _check_bulk(arguments["query"])
        gid = f"gid://shopify/BulkOperation/{next(self._numbers)}"
        self.operations[gid] = {
            "__typename": "BulkOperation",
            "id": gid,
            "status": "CREATED",
            "errorCode": None,
            "url": None,
            "createdAt": _now(),
            "query": arguments["query"],
            "polls": 0,
        }
        return _payload("bulkOperation", self.operations[gid])

    def _advance(self, operation: dict[str, Any]) -> None:
        operation["polls"] += 1
        if operation["status"] == "CREATED":
            operation["status"] = "RUNNING"
        if operation["status"] == "RUNNING" and operation["polls"] >= self.polls_until_done:
            lines = self._bulk_lines(operation["query"])
            name = operation["id"].rpartition("/")[2]
            self.results[name] = "".join(json.dumps(line) + "\n" for line in lines).encode()
            operation["status"] = "COMPLETED"
            operation["url"] = f"{self.url}/results/{name}" if lines else None

    def _bulk_lines(self, query: str) -> list[dict[str, Any]]:
        (stream,) = graphql.parse(query)[1]
        (edges,) = stream.selection
        (node,) = edges.selection
        nested = [each for each in node.selection if graphql.is_connection(each)]
        plain = [each for each in node.selection if each not in nested]
        lines = []
        for record in self._select(stream, self._visible(stream.name)):
            lines.append(graphql.project(record, plain))
            for each in nested:
                selection = each.selection[0].selection[0].selection
                for child in record[each.name]:
                    line = graphql.project(child, selection)
                    lines.append(line | {"__parentId": record["id"]})
        return lines

    def _subscribe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        topic, uri = arguments["topic"], arguments["webhookSubscription"]["uri"]
        if any(each["topic"] == topic and each["uri"] == uri for each in self.subscriptions):
            message = "Address for this topic has already been taken"
            return _payload("webhookSubscription", None, message)
        gid = f"gid://shopify/WebhookSubscription/{next(self._numbers)}"
        self.subscriptions.append(
            {"__typename": "WebhookSubscription", "id": gid, "topic": topic, "uri": uri}
        )
        return _payload("webhookSubscription", self.subscriptions[-1])

    # ------------------------------------------------------------ webhooks

    def delivery(
        self,
        topic: str,
        content: Mapping[str, Any],
        *,
        delivery_id: str = "",
        sent_at: datetime | None = None,
        secret: str | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Return headers and body of a webhook.

        Parameters
        ----------
        topic : str
            Such as ``orders/create``.
        content : mapping
            A record (`Records`), or the body of a privacy request.
        delivery_id : str
            That of an earlier delivery makes a duplicate.
        sent_at : datetime, optional
            Now by default.
        secret : str, optional
            Another one makes a wrong signature.
        """
        body = json.dumps(rest(content) if "__typename" in content else content).encode()
        at = sent_at or datetime.now(UTC)
        return {
            "Content-Type": "application/json",
            "X-Shopify-Topic": topic,
            "X-Shopify-Shop-Domain": self.domain,
            "X-Shopify-API-Version": VERSION,
            "X-Shopify-Webhook-Id": delivery_id or f"delivery-{next(self._numbers)}",
            "X-Shopify-Triggered-At": at.isoformat().replace("+00:00", "Z"),
            "X-Shopify-Hmac-Sha256": signature(secret or self.secret, body),
        }, body

    def privacy_request(
        self, kind: str, customer: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the body of ``redact``, ``data_request`` or (no customer) ``shop/redact``."""
        body: dict[str, Any] = {"shop_id": 954889, "shop_domain": self.domain}
        if customer is not None:
            person = rest(customer)
            body["customer"] = {key: person.get(key) for key in ("id", "email", "phone")}
            asked = {"orders_requested": [], "data_request": {"id": 9999}}
            body |= {"orders_to_redact": []} if kind == "redact" else asked
        return body


def send(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """Send a webhook; return the status."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _error(error: GraphqlError) -> dict[str, Any]:
    return {"message": str(error), "extensions": {"code": error.code}}


def _payload(name: str, record: Any, message: str = "", code: str | None = None) -> dict[str, Any]:
    errors = [{"__typename": "UserError", "field": None, "message": message, "code": code}]
    return {"__typename": "Payload", name: record, "userErrors": errors if message else []}


def _check_bulk(query: str) -> None:
    """Refuse what a bulk operation cannot do."""

    def check(fields: list[Field], depth: int, in_list: bool) -> None:
        for each in fields:
            is_connection = graphql.is_connection(each)
            if is_connection and in_list:
                raise GraphqlError("BULK", "Connection fields within list fields are not supported")
            if is_connection and depth >= 2:
                raise GraphqlError("BULK", "The query has more than two levels of connections")
            is_list = in_list or each.name in ("refunds", "discountAllocations")
            check(each.selection, depth + is_connection, is_list)

    check(graphql.parse(query)[1], 0, False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8090)
    stand_in = Shopify(parser.parse_args().port)
    stand_in.records.fill()
    print(
        f"Shopify {VERSION} at {stand_in.url} (client id {CLIENT_ID}, client secret {SECRET})",
        flush=True,
    )
    stand_in.serve()
