"""Find a platform's connector by its kind.

The classes are imported on first use, because they load an HTTP client.
"""

from typing import Any, cast

from retention.connect import connections
from retention.connect.connections import Access
from retention.connect.contract import Connector, FirstCancelled, MakesCodes
from retention.db import Transaction
from retention.db.tables import Connection
from retention.errors import unknown_name
from retention.settings import Settings
from retention.text import gettext

# Kinds of connections; all shops make codes, too.
SHOPS = ("shopify", "woocommerce")
PLATFORMS = ("brevo", "customer.io", "klaviyo", "mailchimp", "sendgrid")
KINDS = tuple(sorted((*SHOPS, *PLATFORMS)))


def connector_class(kind: str) -> Any:
    """Return the class of a kind's connector. It takes an `Access`."""
    if kind not in KINDS:
        similar = gettext("There is no platform {kind!r}. Did you mean {nearest}?")
        other = gettext("There is no platform {kind!r}; there are {kinds}.")
        raise unknown_name(kind, KINDS, similar, other, kind=kind, kinds=", ".join(KINDS))
    from retention.connect.platforms.brevo import Brevo
    from retention.connect.platforms.customer_io import CustomerIo
    from retention.connect.platforms.klaviyo import Klaviyo
    from retention.connect.platforms.mailchimp import Mailchimp
    from retention.connect.platforms.sendgrid import SendGrid
    from retention.connect.shops.shopify import Shopify
    from retention.connect.shops.woocommerce import WooCommerce

    platforms = Brevo, CustomerIo, Klaviyo, Mailchimp, SendGrid
    classes: tuple[Any, ...] = (Shopify, WooCommerce, *platforms)
    return next(each for each in classes if each.kind == kind)


def connector(
    kind: str, access: Access, first_cancelled: FirstCancelled | None = None
) -> Connector:
    """Return a connector with access to its platform.

    `first_cancelled`: keeps the times of cancellations (`retention.connect.connections`),
    for a platform that does not.
    """
    opened: Any = connector_class(kind)(access)
    if first_cancelled is not None and hasattr(opened, "first_cancelled"):
        opened.first_cancelled = first_cancelled
    return cast(Connector, opened)


def active_shop(session: Transaction) -> Connection | None:
    """Return the active connection that makes codes; the oldest if there are several.

    A second shop with the same codes would let a customer use a code twice.
    """
    shops = session.own(Connection, state="active").where(Connection.kind.in_(SHOPS))
    return session.scalar(shops.order_by(Connection.id).limit(1))


def is_guest(kind: str, customer_id: str) -> bool:
    """Return whether a shop cannot name a customer to whom a code belongs.

    Shopify allows a code to accounts, whose ids are numbers. A guest has none.

    Examples
    --------
    >>> is_guest("shopify", "ada@example.com"), is_guest("shopify", "7311")
    (True, False)
    """
    return kind == "shopify" and not customer_id.isdecimal()


def open_code_maker(settings: Settings, connection: Connection) -> MakesCodes:
    """Return the connector of a shop.

    `connection`: a connection of a kind in `SHOPS`.
    """
    from retention.connect.shops.shopify_codes import ShopifyCodes
    from retention.connect.shops.woocommerce_codes import WooCommerceCodes

    access = connections.access(settings, connection)
    return ShopifyCodes(access) if connection.kind == "shopify" else WooCommerceCodes(access)
