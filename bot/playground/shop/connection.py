"""Connect the demo's desk to its fake shop."""

from retention.db import Database
from retention.errors import BadInput
from retention.settings import Settings

PATH, VERSION = "/shop", "2026-07"  # of the shop; of Shopify's Admin API
NAME = "fake-shop"


def connect(settings: Settings, database: Database, token: str, *, channel: str, by: str) -> None:
    """Store the connection, with the address and token of this run.

    Parameters
    ----------
    settings : Settings
        Of the demo's installation.
    database : Database
        Of the installation.
    token : str
        Access token of the Admin API.
    channel : str
        Channel that owns the connection.
    by : str
        Who adds it.
    """
    from retention.connect import connections, secrets
    from retention.connect.shopify import Shopify

    values = {
        "shop": f"http://127.0.0.1:{settings.playground_port}{PATH}",
        "token": token,
        "version": VERSION,
    }
    with database.transaction() as session:
        try:
            connection = connections.find(session, settings, NAME)
        except BadInput:
            declared = Shopify.settings
            connections.add(
                session, settings, NAME, Shopify.kind, declared, values, channel=channel, by=by
            )
            return
        connection.secrets = secrets.encrypt(settings.keys, {"token": values.pop("token")})
        connection.config = values
