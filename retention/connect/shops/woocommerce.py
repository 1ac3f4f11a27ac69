"""Connect a WooCommerce shop through its REST API v3.

Records are read in the order of their last change. The time of the last one is the watermark. A
page number alone would skip records, because a record that changes meanwhile moves to the end.
"""

import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from retention import clock
from retention.connect import web
from retention.connect.contract import ConnectorError, FirstCancelled, Notice, Page, Setting
from retention.connect.shops import woocommerce_records as records
from retention.connect.shops.connector import ShopConnector, parse_delivery
from retention.connect.shops.orders import Order, moment, need

API = "/wp-json/wc/v3"
PER_PAGE = 100  # the most that WooCommerce gives
SECOND = timedelta(seconds=1)  # times of changes have no fractions
# The API cannot tell which customers changed, so all of them are read, once a day.
CUSTOMERS_EVERY = timedelta(hours=20)
TOPICS = (
    "order.created",
    "order.updated",
    "customer.created",
    "customer.updated",
    "product.created",
    "product.updated",
)
STREAMS = ("products", "customers", "orders")


class WooCommerce(ShopConnector):
    """One WooCommerce shop."""

    kind = "woocommerce"
    signed_with = "webhook_secret"  # setting that signs the webhooks
    headers = "x-wc-webhook-signature", "x-wc-webhook-delivery-id", "x-wc-webhook-topic"
    settings = (
        Setting("shop", example="https://shop.example"),
        Setting("key", is_secret=True, example="ck_…"),
        Setting("secret", is_secret=True, example="cs_…"),
        Setting("webhook_secret", is_secret=True, is_required=False, example="…", is_made=True),
        Setting("consent_field", is_required=False, example="marketing_opt_in"),
        Setting("since", is_required=False, example="2025-01-01"),
    )

    def __init__(self, access: Any) -> None:
        self._secret, self._since = access["webhook_secret"], access["since"]
        self._consent_field = access["consent_field"]
        self._base = web.check_address(access["shop"], "shop")
        self._key = access["key"], access["secret"]
        # The caller may keep the times; without one, that of the last change counts.
        self.first_cancelled: FirstCancelled = lambda order_id, at: at

    @cached_property
    def _api(self) -> web.Api:  # a server that only verifies webhooks needs no client
        return web.Api(self._base, {}, self._key)

    def check(self) -> dict[str, str]:
        """Ask the shop whether the key works and may read all that is needed."""
        currency = self._api.json("GET", f"{API}/data/currencies/current")
        for stream in STREAMS:
            self._api.json("GET", f"{API}/{stream}", query={"per_page": 1})
        return {"currency": str(need(currency, "code"))}

    # ------------------------------------------------------------ pull

    def pull(self, watermark: Mapping[str, Any]) -> Iterator[Page]:
        """Read what changed since a watermark; an empty one reads all.

        Each page has the watermark of all streams.
        """
        state = {name: dict(watermark.get(name) or {}) for name in STREAMS}
        for stream in STREAMS:
            reader = self._all_customers if stream == "customers" else self._changes
            for found, position in reader(stream, state[stream]):
                after = {**state, stream: position}
                yield from self._rows(stream, found, state, after)
                state = after

    def _changes(
        self, stream: str, position: dict[str, Any]
    ) -> Iterator[tuple[list[Any], dict[str, Any]]]:
        """Yield pages of changed records, each with the position after it."""
        query: dict[str, Any] = {"orderby": "modified", "order": "asc", "dates_are_gmt": "true"}
        if stream == "orders" and self._since:
            query["after"] = f"{self._since}T00:00:00"
        modified, page = position.get("modified"), int(position.get("page", 1))
        while True:
            if modified:
                # `modified_after` excludes its time, and others may have changed in that second.
                at = moment(modified, "watermark") - SECOND
                query["modified_after"] = f"{at:%Y-%m-%dT%H:%M:%S}"
            found, is_last = self._page(stream, query, page)
            if not found:
                return
            newest = max(_changed_at(record) for record in found)
            if newest.isoformat() == modified:
                page += 1  # more records of one second than one page has
            else:
                modified, page = newest.isoformat(), 1
            yield found, {"modified": modified, "page": 1 if is_last else page}
            if is_last:
                return

    def _all_customers(
        self, stream: str, position: dict[str, Any]
    ) -> Iterator[tuple[list[Any], dict[str, Any]]]:
        """Yield pages of all customers by id, at most once a day."""
        now, read_at = clock.wall(), position.get("read_at")
        if read_at and now - moment(read_at, "watermark") < CUSTOMERS_EVERY:
            return
        query, page = {"orderby": "id", "order": "asc", "role": "all"}, int(position.get("page", 1))
        while True:
            found, is_last = self._page(stream, query, page)
            page += 1
            yield found, {"read_at": now.isoformat()} if is_last else {"page": page}
            if is_last:
                return

    def _page(
        self, path: str, query: Mapping[str, Any], page: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the records of a page, and whether it is the last one."""
        options = {**query, "per_page": PER_PAGE, "page": page}
        answer = self._api.call("GET", f"{API}/{path}", query=options)
        found = web.parse_json(answer.content)
        if not isinstance(found, list):
            raise ConnectorError("changed_schema", f"{path}: the answer is no list")
        try:
            pages = int(answer.headers["x-wp-totalpages"])
        except (KeyError, ValueError):
            raise ConnectorError("changed_schema", "X-WP-TotalPages") from None
        if not found and page <= pages:
            raise ConnectorError("changed_schema", f"{path}: page {page} of {pages} is missing")
        return found, page >= pages

    def _customer(self, record: dict[str, Any]) -> dict[str, Any]:
        return records.customer_row(record, self._consent_field)

    def _order(self, record: dict[str, Any]) -> Order | None:
        refunds: list[Any] = []
        if known := records.refund_ids(record):
            # A newer refund than the record's belongs to a later state of the order.
            found = self._children(f"orders/{need(record, 'id')}/refunds")
            refunds = [refund for refund in found if need(refund, "id") in known]
        return records.order(record, refunds, self.first_cancelled)

    def _items(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        if not records.has_variations(record):
            return [records.item_row(record, record)]
        variations = self._children(f"products/{need(record, 'id')}/variations")
        return [records.item_row(record, each) for each in variations]

    def _children(self, path: str) -> list[dict[str, Any]]:
        children, is_last = self._page(path, {}, 1)
        for page in itertools.count(2):
            if is_last:
                break
            found, is_last = self._page(path, {}, page)
            children += found
        return children

    # ------------------------------------------------------------ webhooks

    def read(self, topic: str, body: bytes, delivery_id: str) -> Notice:
        """Read a verified delivery; refunds and variations are asked for."""
        content = parse_delivery(body)
        stream = f"{topic.partition('.')[0]}s"
        pages = self._rows(stream, [content], {}, {}) if topic in TOPICS else ()
        return Notice(delivery_id, topic, pages=[*pages])

    def add_webhooks(self, address: str) -> dict[str, int]:
        """Subscribe to all topics; repeating adds nothing.

        Webhooks of an earlier connection get this one's secret, and are switched on again.

        Returns: numbers of ``added`` and ``present`` webhooks, and of those ``switched_on``.
        """
        hooks = self._children("webhooks")
        present = [hook for hook in hooks if hook.get("delivery_url") == address]
        known = {hook.get("topic"): need(hook, "id") for hook in present}
        wanted = [hook for hook in present if hook.get("topic") in TOPICS]
        switched_on = sum(hook.get("status") != "active" for hook in wanted)
        missing = [topic for topic in TOPICS if topic not in known]
        for topic in set(TOPICS) & set(known):
            body = {"status": "active", "secret": self._secret}
            self._api.json("PUT", f"{API}/webhooks/{known[topic]}", body=body)
        for topic in missing:
            names = {"name": f"Retention desk: {topic}", "topic": topic}
            body = {**names, "delivery_url": address, "secret": self._secret}
            self._api.json("POST", f"{API}/webhooks", body=body)
        added, present_now = len(missing), len(TOPICS) - len(missing)
        return {"added": added, "present": present_now, "switched_on": switched_on}


def _changed_at(record: Mapping[str, Any]) -> datetime:
    return moment(need(record, "date_modified_gmt"), "date_modified_gmt")
