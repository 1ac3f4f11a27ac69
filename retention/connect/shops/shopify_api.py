"""Call Shopify's GraphQL Admin API within its limits.

Shopify gives each app a bucket of points. A query costs points, and the bucket fills up again by
the second (https://shopify.dev/docs/api/usage/limits).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from retention import clock
from retention.connect import web
from retention.connect.contract import ConnectorError
from retention.connect.shops.orders import need
from retention.errors import BadInput
from retention.text import gettext

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
        self, query: str, variables: Mapping[str, Any], *path: str
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the nodes of each page of a connection; none if a record of its path is gone.

        `path`: keys that lead to the connection.
        """
        after = None
        while True:
            connection: Any = self.query(query, {**variables, "after": after})
            for key in path:
                if (connection := need(connection, key)) is None:
                    return
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
