"""Ask connected shops for webhooks."""

from typing import Any

from retention import clock
from retention.connect import connections, registry, web
from retention.connect.contract import ConnectorError, Listens
from retention.db import Database
from retention.db.audit import record
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

PATH = "/hooks/"  # of the bot's server


def add_webhooks(
    database: Database, settings: Settings, name: str, address: str | None, *, by: str
) -> dict[str, Any]:
    """Ask a connected shop to send webhooks to this installation; repeating adds nothing.

    Parameters
    ----------
    database : Database
        Holds the connection.
    settings : Settings
        Of the installation.
    name : str
        Name of the connection.
    address : str or None
        Public address of the bot's server; by default that of the settings.
    by : str
        Who asks.

    Returns
    -------
    dict
        ``name``, ``address``, and the numbers of webhooks ``added`` and ``present``.

    Raises
    ------
    BadInput
        There is no such shop or no address, or the shop refused.
    """
    base = address or settings.public_url
    if not base:
        raise BadInput(
            gettext(
                "The public address of this installation is not known. Set RETENTION_PUBLIC_URL, "
                "or type `retention source webhooks {name} --address https://desk.example`."
            ).format(name=name),
            field="address",
        )
    base = web.check_address(base, "address")
    with database.reading() as session:
        connection = connections.find(session, settings, name)
        access = connections.access(settings, connection)
    connector: Any = registry.connector(connection.kind, access)
    try:
        if not isinstance(connector, Listens):
            raise BadInput(
                gettext("{name} is a connection to {kind}, which sends no webhooks.").format(
                    name=name, kind=connection.kind
                ),
                field="name",
            )
        if not access[connector.signed_with]:
            raise BadInput(
                gettext(
                    "{name} has no {key}, so its webhooks could not be verified; remove the source "
                    "and add it again with {key}."
                ).format(name=name, key=connector.signed_with),
                field=connector.signed_with,
            )
        counts = connector.add_webhooks(f"{base}{PATH}{connection.name}")
    except ConnectorError as error:
        raise BadInput(_refusal(error).format(name=name, detail=error.detail)) from None
    finally:
        connector.close()
    with database.transaction() as session:
        record(session, settings, by, "connection.webhooks", name, clock.now(), dict(counts))
    return {"name": connection.name, "address": f"{base}{PATH}{connection.name}", **counts}


def add_webhooks_of_new(
    database: Database, settings: Settings, name: str, *, by: str
) -> dict[str, Any]:
    """Ask a shop that was just connected for webhooks; the shop stays connected without them.

    Parameters
    ----------
    database : Database
        Holds the connection.
    settings : Settings
        Of the installation.
    name : str
        Name of the connection.
    by : str
        Who connected it.

    Returns
    -------
    dict
        Counts of `add_webhooks`, or why there are none as ``missing``.
    """
    try:
        return add_webhooks(database, settings, name, None, by=by)
    except BadInput as error:
        return {"name": name, "missing": str(error)}


def _refusal(error: ConnectorError) -> str:
    if error.code == "access_denied":
        return gettext("{name} refuses the key; check it at the shop, and add the source again.")
    if error.code == "scope_missing":
        return gettext(
            "The key of {name} may not add webhooks ({detail}). Allow it at the shop, then type "
            "`retention source webhooks {name}`."
        )
    if error.is_temporary:
        return gettext(
            "{name} does not answer at the moment. Type `retention source webhooks {name}` in a "
            "few minutes."
        )
    return gettext("{name} refuses the webhooks: {detail}")
