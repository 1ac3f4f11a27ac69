"""Installing the app by OAuth: slack_bolt's flow, with slack_sdk's stores in our database. Off where it is not configured."""

from contextlib import nullcontext, suppress
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
from retention.settings import Settings
from workers import installation

SCOPES = (
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
)
INSTALL, REDIRECT = "/slack/install", "/slack/oauth_redirect"
_SECONDS = 600  # in which somebody has to come back from Slack
_ELSEWHERE = (
    "this desk belongs to another workspace; a desk has one shop's customers, so whoever runs it sets SLACK_TEAM_ID, "
    "or starts another desk"
)
_EXPIRES = (
    "the app has token rotation turned on, and the desk renews no tokens: it would fall silent within the day; install an "
    "app made of slack-manifest.yaml, in which it is off"
)


class Flow(OAuthFlow):
    """slack_bolt's flow, for one workspace."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._desk, self._database = settings, database
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
                state_store=SQLAlchemyOAuthStateStore(_SECONDS, database.engine),
                state_expiration_seconds=_SECONDS,
            ),
        )

    def store_installation(self, request: BoltRequest, installed: Installation) -> None:
        """Keep it, where it is our workspace's.

        Raises
        ------
        BoltError
            It is another one's: what Slack has given for it is given back. Or its token would expire.
        """
        if not self._kept(installed):
            with suppress(SlackClientError, OSError):
                self.client.auth_revoke(token=installed.bot_token)
            raise BoltError(_ELSEWHERE)

    def _kept(self, installed: Installation) -> bool:
        """Whether it is ours, and then stored, while nobody else's can become the first."""
        with self._database.transaction() as session:
            advisory_lock(session, "install")
            ours = installation.workspace_id(session, self._desk) or installed.team_id
            if not ours or installed.team_id != ours:
                return False
            if installed.bot_token_expires_at is not None:
                raise BoltError(_EXPIRES)
            within: Any = SimpleNamespace(begin=lambda: nullcontext(session.connection()))
            SQLAlchemyInstallationStore(self._desk.slack_client_id, within).save(installed)
        return True


def _done(args: SuccessArgs) -> BoltResponse:
    return args.default.success(args)


def _failed(args: FailureArgs) -> BoltResponse:
    if args.error is not None:
        args.reason, args.suggested_status_code = str(args.error), 403
    return args.default.failure(args)
