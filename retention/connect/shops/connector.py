"""What the connectors of all shops have in common: pages of rows, and webhooks."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from retention.connect import web
from retention.connect.contract import ConnectorError, Page
from retention.connect.shops import orders
from retention.connect.shops.orders import Order


class ShopConnector(ABC):
    """A connector of a shop; a platform implements the requests and reads its records.

    ``headers`` of a webhook have the signature, the delivery's id and the topic.
    """

    kind: str
    headers: tuple[str, str, str]
    _secret: str  # signs the webhooks

    def close(self) -> None:
        """Close the connections."""
        if "_api" in vars(self):  # it is opened by the first request
            vars(self)["_api"].close()

    def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the delivery's id."""
        signature, delivery, _ = self.headers
        return web.verify_delivery(
            self._secret, headers, body, signature=signature, delivery=delivery
        )

    def topic(self, headers: Mapping[str, str]) -> str:
        """Return what a delivery is about."""
        return headers.get(self.headers[2], "")

    @abstractmethod
    def _customer(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the row of a customer."""

    @abstractmethod
    def _items(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of a product."""

    @abstractmethod
    def _order(self, record: dict[str, Any]) -> Order | None:
        """Read an order; None if it does not count."""

    def _rows(
        self,
        stream: str,
        found: Sequence[dict[str, Any]],
        before: Mapping[str, Any],
        after: Mapping[str, Any],
    ) -> Iterator[Page]:
        """Yield the pages of some records; the last one moves the watermark."""
        if stream == "customers":
            yield Page("customers", [self._customer(record) for record in found], dict(after))
        elif stream == "products":
            rows = [row for record in found for row in self._items(record)]
            yield Page("items", rows, dict(after))
        else:
            yield from self._sold(map(self._order, found), before, after)

    def _sold(
        self, found: Iterable[Order | None], before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> Iterator[Page]:
        sold = [order for order in found if order]
        if guests := orders.guests(sold):
            yield Page("customers", guests, dict(before))
        rows = [event for order in sold for event in orders.events(order, self.kind)]
        yield Page("events", rows, dict(after))


def parse_delivery(body: bytes) -> dict[str, Any]:
    """Return the record of a verified webhook."""
    content = web.parse_json(body)
    if not isinstance(content, dict):
        raise ConnectorError("changed_schema", "the delivery is no object")
    return content
