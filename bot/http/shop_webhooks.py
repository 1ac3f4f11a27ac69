"""Answer ``POST /hooks/NAME``: webhooks of connected shops.

A delivery is verified before anything else is done with it. It is stored in one transaction, and a
job imports it later (`workers.tasks.shops.shop_inbox`).
"""

import logging
import re
import threading
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bot.group_commit import GroupCommit
from bot.http import requests
from bot.http.requests import Reply, Request, error_reply, json_reply, noted
from retention import clock
from retention.connect.contract import ConnectedShop, ConnectorError
from retention.connect.shops import webhook_inbox
from retention.db import Database
from retention.db.tables import Connection
from retention.errors import BadInput, Refused
from retention.text import gettext
from workers.delivery import outbox
from workers.tasks.interface import Post

log = logging.getLogger(__name__)

PATH = "/hooks/"
# Anyone can send a body with a forged signature, which is found out only after it is read. Shopify
# puts at most 100 variants into a webhook, about 200 KB; an order of 300 lines has about 600 KB.
# The nightly pull brings what is larger.
MAX_BODY_BYTES = 1_000_000
MAX_NAME = 40
SIGNATURES = ("x-shopify-hmac-sha256", "x-wc-webhook-signature")  # headers
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{43}=")  # 32 bytes in base64


class ShopWebhooks:
    def __init__(self, database: Database) -> None:
        self._settings, self._database = database.settings, database
        self._commits = GroupCommit(database)
        # Connectors by connection. They are made again when the settings or secrets change.
        self._connectors: dict[int, tuple[Any, ConnectedShop | None]] = {}
        self._reported: set[str] = set()
        self._lock = threading.Lock()

    def early_refusal(self, request: Request) -> Reply | None:
        """Refuse a delivery without the form of a signature, before its body is read."""
        has_form = any(_SIGNATURE.fullmatch(request.header(name)) for name in SIGNATURES)
        return None if has_form else _refused()

    def handle(self, request: Request) -> Reply:
        """Store one delivery; a repeated one gets the same answer."""
        headers, body = request.headers, request.body
        try:
            connection = self._connection(request.path.removeprefix(PATH))
            connector = self._connector(connection) if connection else None
            if connection is None or connector is None:
                return _refused()
            try:
                delivery_id = connector.verify(headers, body)
            except ConnectorError:
                self._report(connection)
                return _refused()
            topic = connector.topic(headers)
            self._commits.store(
                lambda session: webhook_inbox.store(session, connection, delivery_id, topic, body)
            )
        except SQLAlchemyError as error:
            log.error("cannot store a webhook: %s", type(error).__name__)
            return error_reply(503, gettext("it could not be stored; please send it again"))
        return json_reply(200, {})

    def warm_up(self) -> None:
        """Load the connectors, so that the first delivery does not wait for their imports."""
        try:
            with self._database.reading() as session:
                stored = session.scalars(
                    select(Connection).where(Connection.team_id == self._settings.team_id)
                ).all()
        except SQLAlchemyError as error:
            log.info("the connections cannot be read yet: %s", type(error).__name__)
            return
        for connection in stored:
            self._connector(connection)

    def _connection(self, name: str) -> Connection | None:
        if not name or len(name) > MAX_NAME or "\0" in name:
            return None
        with self._database.reading() as session:
            return session.scalar(
                select(Connection).where(
                    Connection.team_id == self._settings.team_id, Connection.name == name
                )
            )

    def _connector(self, connection: Connection) -> "ConnectedShop | None":
        """Return the connector that verifies; None if the platform has no webhooks."""
        from retention.connect import connections, registry

        version = (connection.kind, connection.config, connection.secrets)
        known = self._connectors.get(connection.id)
        if known is None or known[0] != version:
            connector = None
            try:
                access = connections.access(self._settings, connection)
                connector = registry.connector(connection.kind, access)
            except (BadInput, Refused) as error:
                log.error("the connection %s cannot be used: %s", connection.name, error)
            listens = connector if isinstance(connector, ConnectedShop) else None
            known = self._connectors[connection.id] = version, listens
        return known[1]

    def _report(self, connection: Connection) -> None:
        """Tell the channel of the connection, at most once a day: anyone can send such requests."""
        today = f"{clock.wall().astimezone(self._settings.zone):%Y-%m-%d}"
        key = f"hook-refused:{connection.id}:{today}"
        with self._lock:
            if key in self._reported:
                return
            self._reported = {each for each in self._reported if each.endswith(today)} | {key}
        with self._database.transaction() as session:
            if outbox.channel_of(session, key) is None:
                post = Post("connect/refused", {"name": connection.name}, key=key)
                outbox.put(session, post, default_channel=connection.channel)


def _refused() -> Reply:
    # The same for every reason.
    return noted(requests.UNVERIFIED, PATH, error_reply(401, "unauthorized"))
