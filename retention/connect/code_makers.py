"""Find the shop that makes the codes of campaigns."""

import importlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.connect import connections
from retention.connect.contract import MakesCodes
from retention.db.tables import Connection
from retention.settings import Settings

# Kind of a connection → class. A module is imported only to make codes.
CODE_MAKERS: dict[str, str] = {
    "shopify": "retention.connect.shopify_codes:ShopifyCodes",
    "woocommerce": "retention.connect.woocommerce_codes:WooCommerceCodes",
}


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
    module, _, name = CODE_MAKERS[connection.kind].partition(":")
    maker: MakesCodes = getattr(importlib.import_module(module), name)(
        connections.access(settings, connection)
    )
    return maker
