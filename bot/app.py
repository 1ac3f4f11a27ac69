"""The Slack app: one `build_app` for HTTP and for Socket Mode."""

import logging

from slack_bolt import App
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.authorize import CallableAuthorize

from bot import home, slash
from bot.commands import root
from bot.commands.catalogue import entries
from bot.failures import Failures
from bot.interactions import register_all
from bot.oauth import Flow
from bot.request_limit import RequestLimit
from bot.sanitize import whole_characters
from bot.services import Services
from bot.threads import Listeners, acknowledged_once
from bot.workspace import CheckWorkspace, OwnWorkspace
from retention.db import Database
from retention.settings import Settings
from workers.installation import bot_token

log = logging.getLogger("retention.bot")

LISTENERS = 32  # threads: a handler that waits for Slack must not starve the next acknowledgement


def build_app(
    settings: Settings, database: Database | None = None, own: OwnWorkspace | None = None
) -> App:
    """Make the Bolt app with every command, button and tab.

    Parameters
    ----------
    settings : Settings
        Without a signing secret every HTTP request is refused; Socket Mode needs none.
    database : Database, optional
        The installation's, by default.
    own : OwnWorkspace, optional
        Looks up the workspace to serve; by default at the first request.

    Notes
    -----
    Bolt's own authorisation calls Slack for each request; here the token comes from the settings or the database.
    `bot.workspace.CheckWorkspace` refuses requests of other workspaces.
    """
    services = Services.of(settings, database)
    secret = settings.slack_signing_secret
    app = App(
        name="retention",
        client=services.client,
        signing_secret=secret.get_secret_value() if secret else "",
        # A plain function would not do beside a flow: slack_bolt would read the flow's store, and call Slack for each request.
        authorize=CallableAuthorize(logger=log, func=_authorize(settings, services.database)),  # type: ignore[arg-type]
        oauth_flow=Flow(settings, services.database) if settings.oauth else None,
        listener_executor=Listeners(LISTENERS, thread_name_prefix="listener"),
        request_verification_enabled=True,
        ignoring_self_events_enabled=False,  # it subscribes to none that it causes
    )
    app.error(Failures(services).handle)
    app.use(CheckWorkspace(own or OwnWorkspace(settings, services.database)))
    app.use(acknowledged_once)
    app.use(RequestLimit())
    app.use(whole_characters)
    slash.register(app, services)
    home.register(app, services)
    register_all(app, services)
    entries(root())  # imports every command now rather than under the first person's three seconds
    return app


def _authorize(settings: Settings, database: Database):
    def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        token = bot_token(settings, database)
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, bot_token=token)

    return authorize
