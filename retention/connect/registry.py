"""Find a platform's connector by its kind.

Each kind is imported on first use, because connectors load HTTP clients.
"""

import difflib
from collections.abc import Callable
from typing import Any

from retention.connect.connections import Access
from retention.connect.contract import Connector, FirstCancelled
from retention.connect.mail import PLATFORMS
from retention.errors import BadInput
from retention.text import gettext


def _shopify() -> Callable[[Access], Any]:
    from retention.connect.shopify import Shopify

    return Shopify


def _woocommerce() -> Callable[[Access], Any]:
    from retention.connect.woocommerce import WooCommerce

    return WooCommerce


# Functions that import and return the class of a connector, by kind. The class takes an `Access`.
SHOPS: dict[str, Callable[[], Callable[[Access], Any]]] = {
    "shopify": _shopify,
    "woocommerce": _woocommerce,
}
CONNECTORS = {**SHOPS, **PLATFORMS}


def kinds() -> tuple[str, ...]:
    """Return the kinds of platforms that can be connected."""
    return tuple(sorted(CONNECTORS))


def connector_class(kind: str) -> Any:
    """Return the class of a kind's connector.

    Raises
    ------
    BadInput
        There is no such kind. The message names the nearest.
    """
    if kind not in CONNECTORS:
        nearest = difflib.get_close_matches(kind, kinds(), 1)
        message = (
            gettext("There is no platform {kind!r}. Did you mean {nearest}?")
            if nearest
            else gettext("There is no platform {kind!r}; there are {kinds}.")
        )
        raise BadInput(
            message.format(kind=kind, nearest="".join(nearest), kinds=", ".join(kinds()))
        )
    return CONNECTORS[kind]()


def connector(
    kind: str, access: Access, first_cancelled: FirstCancelled | None = None
) -> Connector:
    """Return a connector with access to its platform.

    Parameters
    ----------
    kind : str
        Kind of the platform.
    access : Access
        Settings and secrets of a connection.
    first_cancelled : callable, optional
        Keeps the times of cancellations (`retention.connect.cancellations`), for a platform that
        does not.
    """
    opened: Any = connector_class(kind)(access)
    if first_cancelled is not None and hasattr(opened, "first_cancelled"):
        opened.first_cancelled = first_cancelled
    found: Connector = opened
    return found
