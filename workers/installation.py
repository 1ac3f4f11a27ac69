"""Find the installation's workspace and bot token.

They come from the settings or from an OAuth installation (`bot.http.oauth`).
"""

import logging
from typing import Any

from slack_sdk import WebClient
from sqlalchemy import Select, select

from retention.db import Database, Transaction
from retention.db.tables import SLACK_BOTS

log = logging.getLogger(__name__)


class Client(WebClient):
    """Slack client that always uses the current bot token.

    The app may be installed again while a process runs. The client never retries, because
    slack_sdk's retries can post twice.

    `timeout`: seconds per call.
    """

    def __init__(self, database: Database, timeout: float) -> None:
        self._database = database
        super().__init__(
            base_url=database.settings.slack_api_url,
            timeout=timeout,  # type: ignore[arg-type]
            retry_handlers=[],
        )

    @property
    def token(self) -> str | None:
        """Return the current bot token."""
        return bot_token(self._database)

    @token.setter
    def token(self, _: str | None) -> None:
        """Ignore what slack_sdk sets: the token above is the current one."""


def bot_token(database: Database) -> str | None:
    """Return the bot's token.

    Returns: none before the app is installed.
    """
    settings = database.settings
    if settings.slack_bot_token:
        return settings.slack_bot_token.get_secret_value()
    if not settings.slack_client_id:  # the sender knows the id of the OAuth app, not its secret
        return None
    with database.reading() as session:
        encrypted = session.scalar(newest_bot(session, SLACK_BOTS.c.bot_token))
    if not encrypted:
        return None
    from retention.encryption import decrypt_bot_token  # its library is slow to import

    token = decrypt_bot_token(settings.keys, encrypted)
    if token is None:
        log.error(
            "The bot's token was encrypted with another key: put that key into "
            "RETENTION_OLD_SECRET_KEYS, or install the app again at /slack/install."
        )
    return token


def workspace_id(session: Transaction) -> str | None:
    """Return the id of this desk's workspace.

    It is ``SLACK_TEAM_ID``, or the first workspace that installed the app. A desk has one shop's
    customers, therefore one workspace.
    """
    if session.settings.slack_team_id:
        return session.settings.slack_team_id
    first = first_installation(session)
    return first[0] if first else None


def first_installation(session: Transaction) -> tuple[str, str | None] | None:
    """Return the first workspace that installed the app."""
    first = (
        select(SLACK_BOTS.c.team_id, SLACK_BOTS.c.enterprise_id)
        .where(SLACK_BOTS.c.client_id == session.settings.slack_client_id)
        .order_by(SLACK_BOTS.c.id)
        .limit(1)
    )
    row = session.execute(first).one_or_none()
    return (row.team_id, row.enterprise_id or None) if row else None


def newest_bot(session: Transaction, *columns: Any) -> Select[Any]:
    """Select columns of the workspace's latest installation."""
    bots = SLACK_BOTS.c
    return (
        select(*columns)
        .where(bots.client_id == session.settings.slack_client_id)
        .where(bots.team_id == workspace_id(session))
        .order_by(bots.installed_at.desc(), bots.id.desc())
        .limit(1)
    )
