"""Ask connected shops for webhooks, and again for those that they dropped."""

import logging
from contextlib import closing
from typing import Any

from retention import clock
from retention.connect import connections, registry, web
from retention.connect.contract import WEBHOOKS_AT, ConnectedShop, ConnectorError
from retention.db import Database
from retention.db.audit import record
from retention.db.tables import Connection
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)

PATH = "/hooks/"  # of the bot's server


def add_webhooks(database: Database, name: str, address: str | None, *, by: str) -> dict[str, Any]:
    """Ask a connected shop to send webhooks to this installation; repeating adds nothing.

    Returns: ``name``, ``address``, and the numbers of webhooks ``added`` and ``present``.
    """
    settings = database.settings
    if not (base := address or settings.public_url):
        message = gettext(
            "The public address of this installation is not known. Set RETENTION_PUBLIC_URL, "
            "or type `retention source webhooks {name} --address https://desk.example`."
        )
        raise BadInput(message.format(name=name), field="address")
    base = web.check_address(base, "address")
    with database.reading() as session:
        connection = connections.find(session, name)
        access = connections.access(database.settings, connection)
    connector: Any = registry.connector(connection.kind, access)
    try:
        if not isinstance(connector, ConnectedShop):
            message = gettext("{name} is a connection to {kind}, which sends no webhooks.")
            raise BadInput(message.format(name=name, kind=connection.kind), field="name")
        if not access[key := connector.signed_with]:
            message = gettext(
                "{name} has no {key}, so its webhooks could not be verified; remove the source "
                "and add it again with {key}."
            )
            raise BadInput(message.format(name=name, key=key), field=key)
        counts = connector.add_webhooks(target := f"{base}{PATH}{connection.name}")
    except ConnectorError as error:
        raise BadInput(_refusal(error).format(name=name, detail=error.detail)) from None
    finally:
        connector.close()
    with database.transaction() as session:
        record(session, by, "connection.webhooks", name, clock.now(), dict(counts))
        stored = connections.find(session, name)
        stored.config = {**stored.config, WEBHOOKS_AT: target}
    return {"name": connection.name, "address": target, **counts}


def restore_webhooks(settings: Settings, connection: Connection) -> dict[str, int]:
    """Ask a shop again for the webhooks that it dropped after failed deliveries.

    Nothing happens to a shop that was never asked, or at whose address the installation is no
    longer.

    Returns: numbers of webhooks that were ``added`` and ``present``; empty if the shop was not
    asked.
    """
    target = connection.config.get(WEBHOOKS_AT)
    base = (settings.public_url or "").rstrip("/")
    if target is None or (base and target != f"{base}{PATH}{connection.name}"):
        return {}
    access = connections.access(settings, connection)
    with closing(registry.connector(connection.kind, access)) as connector:
        if not isinstance(connector, ConnectedShop):
            return {}
        counts = connector.add_webhooks(target)
    if restored := counts["added"] + counts.get("switched_on", 0):
        log.warning("%s had dropped %d webhooks; they are back", connection.name, restored)
    return counts


def add_webhooks_of_new(database: Database, name: str, *, by: str) -> dict[str, Any]:
    """Ask a shop that was just connected for webhooks; the shop stays connected without them.

    Returns: counts of `add_webhooks`, or why there are none as ``missing``.
    """
    try:
        return add_webhooks(database, name, None, by=by)
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
