"""Find the installation's workspace and bot token.

They come from the settings or from an OAuth installation (`bot.oauth`).
"""

from typing import Any

from slack_sdk import WebClient
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from retention.db import Database
from retention.db.tables import SLACK_BOTS
from retention.settings import Settings


class Client(WebClient):
    """Slack client that always uses the current bot token.

    The app may be installed again while a process runs. The client never retries, because
    slack_sdk's retries can post twice.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Holds OAuth installations.
    timeout : float
        Seconds per call.
    """

    def __init__(self, settings: Settings, database: Database, timeout: float) -> None:
        self._settings, self._database = settings, database
        super().__init__(
            base_url=settings.slack_api_url,
            timeout=timeout,  # type: ignore[arg-type]
            retry_handlers=[],
        )

    @property
    def token(self) -> str | None:
        """Return the current bot token."""
        return bot_token(self._settings, self._database)

    @token.setter
    def token(self, _: str | None) -> None:
        """Ignore what slack_sdk sets: the token above is the current one."""


def bot_token(settings: Settings, database: Database) -> str | None:
    """Return the bot's token.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Holds jobs, campaigns and messages.

    Returns
    -------
    str or None
        None before the app is installed.
    """
    if settings.slack_bot_token:
        return settings.slack_bot_token.get_secret_value()
    if not settings.slack_client_id:  # the sender knows the id of the OAuth app, not its secret
        return None
    with database.reading() as session:
        bots = _bots(settings, SLACK_BOTS.c.bot_token).where(
            SLACK_BOTS.c.team_id == workspace_id(session, settings)
        )
        return session.scalar(
            bots.order_by(SLACK_BOTS.c.installed_at.desc(), SLACK_BOTS.c.id.desc()).limit(1)
        )


def workspace_id(session: Session, settings: Settings) -> str | None:
    """Return the id of this desk's workspace.

    It is ``SLACK_TEAM_ID``, or the first workspace that installed the app. A desk has one shop's
    customers, therefore one workspace.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.

    Returns
    -------
    str or None
        None before the app is installed.
    """
    if settings.slack_team_id:
        return settings.slack_team_id
    first = first_installation(session, settings)
    return first[0] if first else None


def first_installation(session: Session, settings: Settings) -> tuple[str, str | None] | None:
    """Return the first workspace that installed the app.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.

    Returns
    -------
    tuple[str, str or None] or None
        Ids of the workspace and of its Enterprise organisation, if any.
    """
    first = (
        select(SLACK_BOTS.c.team_id, SLACK_BOTS.c.enterprise_id)
        .where(SLACK_BOTS.c.client_id == settings.slack_client_id)
        .order_by(SLACK_BOTS.c.id)
        .limit(1)
    )
    row = session.execute(first).one_or_none()
    return (row.team_id, row.enterprise_id or None) if row else None


def _bots(settings: Settings, column: Any) -> Select[tuple[Any]]:
    return select(column).where(SLACK_BOTS.c.client_id == settings.slack_client_id)
