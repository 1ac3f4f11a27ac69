"""Connected shops for tests: a connector together with its stand-in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from retention.connect.connections import Access
from retention.connect.shops.shopify import Shopify
from retention.connect.shops.woocommerce import WooCommerce
from tests.standins import shopify, woocommerce
from tests.standins.server import StandIn


@dataclass(frozen=True, slots=True)
class Kind:
    """A connector, its stand-in, and what differs between platforms.

    Parameters
    ----------
    connector : callable
        The connector's class.
    stand_in : type
        Class of the stand-in; `fill` gives it records.
    values : callable
        Settings and secrets for a stand-in.
    renamed : tuple of str
        A field of orders and its new name, for a changed schema.
    hook : tuple of str
        A webhook's topic of an order.
    """

    connector: Callable[[Access], Any]
    stand_in: type[StandIn]
    values: Callable[[Any], dict[str, str]]
    renamed: tuple[str, str]
    topic: str


def _shopify_values(stand_in: shopify.Shopify) -> dict[str, str]:
    return {"shop": stand_in.url, "token": shopify.TOKEN, "client_secret": shopify.SECRET}


def _woocommerce_values(stand_in: woocommerce.WooCommerce) -> dict[str, str]:
    return {
        "shop": stand_in.url,
        "key": woocommerce.KEY,
        "secret": woocommerce.CONSUMER_SECRET,
        "webhook_secret": woocommerce.SECRET,
        "consent_field": "opt_in",
    }


# Shops that can be pulled and send webhooks. A further platform adds its own.
SHOPS = {
    "shopify": Kind(
        Shopify,
        shopify.Shopify,
        _shopify_values,
        ("discountAllocations", "allocations"),
        "orders/updated",
    ),
    "woocommerce": Kind(
        WooCommerce,
        woocommerce.WooCommerce,
        _woocommerce_values,
        ("subtotal", "sub_total"),
        "order.updated",
    ),
}


@contextmanager
def connected(kind: str, **changes: str) -> Iterator[tuple[Any, Any]]:
    """Yield a connector and its filled stand-in."""
    what = SHOPS[kind]
    with what.stand_in.start() as stand_in:
        records_of(stand_in).fill()
        if isinstance(stand_in, shopify.Shopify):  # tests need not wait
            stand_in.restore_rate, stand_in.polls_until_done = 100_000.0, 1
        connector = what.connector(Access({**what.values(stand_in), **changes}))
        yield connector, stand_in
        connector.close()


def orders_of(stand_in: Any) -> dict[int, dict[str, Any]]:
    """Return the orders of a stand-in."""
    orders: dict[int, dict[str, Any]] = records_of(stand_in).orders
    return orders


def records_of(stand_in: Any) -> Any:
    """Return what adds records to a stand-in."""
    return getattr(stand_in, "records", stand_in)
