"""Find the shop that makes the codes of campaigns."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.connect.contract import MakesCodes
from retention.db.tables import Connection
from retention.settings import Settings


def _shopify() -> Any:
    from retention.connect.shopify_codes import ShopifyCodes

    return ShopifyCodes


def _woocommerce() -> Any:
    from retention.connect.woocommerce_codes import WooCommerceCodes

    return WooCommerceCodes


# Kinds of shops that allow a code to accounts, whose ids are numbers. A guest has none.
_BY_ACCOUNT = {"shopify"}

# Kind of a connection → function that imports and returns the class.
CODE_MAKERS: dict[str, Callable[[], Any]] = {"shopify": _shopify, "woocommerce": _woocommerce}


def active_shop(session: Session, settings: Settings) -> Connection | None:
    """Return the active connection that makes codes; the oldest if there are several.

    A second shop with the same codes would let a customer use a code twice.

    Parameters
    ----------
    session : Session
        Open session.
    settings : Settings
        Settings of the installation.

    Returns
    -------
    Connection or None
    """
    return session.scalar(
        select(Connection)
        .where(
            Connection.team_id == settings.team_id,
            Connection.state == "active",
            Connection.kind.in_(CODE_MAKERS),
        )
        .order_by(Connection.id)
        .limit(1)
    )


def is_guest(kind: str, customer_id: str) -> bool:
    """Return whether a shop cannot name a customer to whom a code belongs.

    Parameters
    ----------
    kind : str
        Kind of the shop's connection.
    customer_id : str
        Customer id.

    Examples
    --------
    >>> is_guest("shopify", "ada@example.com"), is_guest("shopify", "7311")
    (True, False)
    """
    return kind in _BY_ACCOUNT and not customer_id.isdecimal()


def open_code_maker(settings: Settings, connection: Connection) -> MakesCodes:
    """Return the connector of a shop.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    connection : Connection
        A connection of a kind in `CODE_MAKERS`.

    Returns
    -------
    MakesCodes

    Raises
    ------
    Refused
        Its secrets cannot be decrypted.
    """
    from retention.connect import connections  # loads cryptography

    maker: MakesCodes = CODE_MAKERS[connection.kind]()(connections.access(settings, connection))
    return maker
