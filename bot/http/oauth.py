"""Install the app by OAuth.

Off unless it is configured.
"""

from contextlib import nullcontext, suppress
from copy import copy
from types import SimpleNamespace
from typing import Any

from slack_bolt import BoltRequest, BoltResponse
from slack_bolt.error import BoltError
from slack_bolt.oauth import OAuthFlow
from slack_bolt.oauth.callback_options import CallbackOptions, FailureArgs, SuccessArgs
from slack_bolt.oauth.oauth_settings import OAuthSettings
from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError
from slack_sdk.oauth.installation_store import Installation
from slack_sdk.oauth.installation_store.sqlalchemy import SQLAlchemyInstallationStore
from slack_sdk.oauth.state_store.sqlalchemy import SQLAlchemyOAuthStateStore

from retention.db import Database
from retention.db.engine import advisory_lock
from retention.encryption import encrypt_bot_token
from retention.text import gettext
from workers import installation

SCOPES = (
    "app_mentions:read",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "im:write",
    "mpim:read",
    "usergroups:read",
    "users:read",
    "users:read.email",
)
INSTALL, REDIRECT = "/slack/install", "/slack/oauth_redirect"
_STATE_SECONDS = 600  # time limit to return from Slack
_OTHER_WORKSPACE = gettext(
    "this desk belongs to another workspace; a desk has one shop's customers, "
    "so whoever runs it sets SLACK_TEAM_ID, or starts another desk"
)


class Flow(OAuthFlow):
    """slack_bolt's OAuth flow, limited to one workspace."""

    def __init__(self, database: Database) -> None:
        settings = database.settings
        self._settings, self._database = settings, database
        secret = settings.slack_client_secret
        super().__init__(
            client=WebClient(base_url=settings.slack_api_url, timeout=10, retry_handlers=[]),
            settings=OAuthSettings(
                client_id=settings.slack_client_id,
                client_secret=secret.get_secret_value() if secret else "",
                scopes=SCOPES,
                user_scopes=(),
                redirect_uri=f"{settings.public_url.rstrip('/')}{REDIRECT}"
                if settings.public_url
                else None,
                install_path=INSTALL,
                redirect_uri_path=REDIRECT,
                install_page_rendering_enabled=False,
                callback_options=CallbackOptions(success=_done, failure=_failed),
                installation_store=SQLAlchemyInstallationStore(
                    settings.slack_client_id, database.engine
                ),
                state_store=SQLAlchemyOAuthStateStore(_STATE_SECONDS, database.engine),
                state_expiration_seconds=_STATE_SECONDS,
            ),
        )

    def store_installation(self, request: BoltRequest, installed: Installation) -> None:
        """Store the installation if it belongs to our workspace."""
        if not self._store_own(installed):
            with suppress(SlackClientError, OSError):
                self.client.auth_revoke(token=installed.bot_token)
            raise BoltError(_OTHER_WORKSPACE)

    def _store_own(self, installed: Installation) -> bool:
        """Store our workspace's installation under a lock. Return False for others."""
        with self._database.transaction() as session:
            advisory_lock(session, "install")
            own_team = installation.workspace_id(session) or installed.team_id
            if not own_team or installed.team_id != own_team:
                return False
            store: Any = SimpleNamespace(begin=lambda: nullcontext(session.connection()))
            encrypted = copy(installed)
            encrypted.user_token = None  # nobody asked for one
            for name in (
                "bot_token",
                "bot_refresh_token",
            ):  # the latter: `bot.slack.token_rotation`
                if token := getattr(installed, name):
                    setattr(encrypted, name, encrypt_bot_token(session.settings.keys, token))
            SQLAlchemyInstallationStore(self._settings.slack_client_id, store).save(encrypted)
        return True


def _done(args: SuccessArgs) -> BoltResponse:
    return args.default.success(args)


def _failed(args: FailureArgs) -> BoltResponse:
    if args.error is not None:
        args.reason, args.suggested_status_code = str(args.error), 403
    return args.default.failure(args)
