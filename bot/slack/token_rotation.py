"""Renew the bot token of an app with token rotation.

Slack ends such a token after 12 hours, and gives a new one for the refresh token, once. The token
is renewed two hours before its end. Only the bot knows the app's client secret, so it alone renews.
"""

import logging
import time

from slack_sdk import WebClient
from slack_sdk.errors import SlackTokenRotationError
from slack_sdk.oauth.installation_store import Bot
from slack_sdk.oauth.token_rotation import TokenRotator
from sqlalchemy import select

from retention.db import Database
from retention.db.tables import SLACK_BOTS, SLACK_INSTALLATIONS
from retention.encryption import decrypt_bot_token, encrypt_bot_token
from workers.installation import newest_bot

log = logging.getLogger(__name__)

CHECK_SECONDS = 600


def keep_fresh(database: Database) -> None:
    """Renew the bot token again and again, without end."""
    while True:
        try:
            renew(database)
        except SlackTokenRotationError as error:
            code = error.api_error.response.get("error")
            log.error("Slack renews the bot's token no more (%s): install the app again", code)
        except Exception:  # the next check tries again
            log.exception("the bot's token was not renewed")
        time.sleep(CHECK_SECONDS)


def renew(database: Database) -> bool:
    """Renew the bot token if it ends within two hours. Return whether it did.

    Slack is asked outside a transaction. Where two bots ask at once, one gets an answer, and the
    other finds that the stored token is no longer the one it asked with.

    Raises `SlackTokenRotationError`: Slack refuses the refresh token.
    """
    settings, keys = database.settings, database.settings.keys
    if settings.slack_bot_token or not settings.slack_client_secret:
        return False
    with database.reading() as session:
        row = session.execute(newest_bot(session, *SLACK_BOTS.c)).one_or_none()
    if row is None or row.bot_token_expires_at is None:
        return False
    refresh_token = decrypt_bot_token(keys, row.bot_refresh_token)
    if refresh_token is None:
        return False  # of a lost key, as `bot_token` reports
    bot = Bot(
        bot_token="",
        bot_id=row.bot_id,
        bot_user_id=row.bot_user_id,
        installed_at=row.installed_at,
        bot_refresh_token=refresh_token,
        bot_token_expires_at=row.bot_token_expires_at,
    )
    rotator = TokenRotator(
        client_id=settings.slack_client_id,
        client_secret=settings.slack_client_secret.get_secret_value(),
        client=WebClient(base_url=settings.slack_api_url, timeout=10, retry_handlers=[]),
    )
    try:
        renewed = rotator.perform_bot_token_rotation(bot=bot)
    except SlackTokenRotationError:
        if _is_current(database, row.bot_refresh_token):
            raise
        return False
    if renewed is None:
        return False
    values = {
        "bot_token": encrypt_bot_token(keys, renewed.bot_token),
        "bot_refresh_token": encrypt_bot_token(keys, renewed.bot_refresh_token or refresh_token),
        "bot_token_expires_at": renewed.to_dict()["bot_token_expires_at"].replace(tzinfo=None),
    }
    with database.transaction() as session:
        for table in (SLACK_BOTS, SLACK_INSTALLATIONS):
            same = table.c.bot_refresh_token == row.bot_refresh_token
            session.execute(table.update().where(same).values(values))
    return True


def _is_current(database: Database, refresh_token: str) -> bool:
    with database.reading() as session:
        stored = select(SLACK_BOTS.c.id).where(SLACK_BOTS.c.bot_refresh_token == refresh_token)
        return session.scalar(stored) is not None
