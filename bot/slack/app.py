"""Build the Slack app."""

import logging

from slack_bolt import App, BoltRequest, BoltResponse
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.authorize import CallableAuthorize

from bot.commands.catalogue import entries
from bot.commands.tree import root
from bot.http.oauth import Flow
from bot.http.rate_limit import RequestLimit
from bot.services import Services
from bot.slack import conversation, groups, slash
from bot.slack.chat_replies import StoreReply
from bot.slack.clicks import StoreClick
from bot.slack.failures import Failures
from bot.slack.interactions import register_all
from bot.slack.middleware import Listeners, Refusals, SpeakLanguage, acknowledged_once, clean_text
from bot.slack.workspace import CheckWorkspace, OwnWorkspace
from retention import traces
from retention.db import Database
from retention.settings import Settings
from workers.installation import bot_token

log = logging.getLogger("retention.bot")

LISTENERS = 32  # threads; handlers that wait for Slack must not delay acknowledgements


class TracedApp(App):
    """Bolt's app, in which each request is a span; a trace begins with it."""

    def dispatch(self, req: BoltRequest) -> BoltResponse:
        kind = "command" if req.body.get("command") else str(req.body.get("type", ""))
        with traces.span("slack.request", type=kind):
            return super().dispatch(req)


def build_app(
    settings: Settings,
    database: Database | None = None,
    own: OwnWorkspace | None = None,
    speak: SpeakLanguage | None = None,
) -> App:
    """Build the Bolt app with all its listeners.

    `settings`: the installation. Without a signing secret every HTTP request is refused; Socket
    Mode needs none.
    `own`: looks up the workspace to serve. By default at the first request.
    `speak`: sets the language of each request.

    Notes
    -----
    Bolt's own authorisation calls Slack for each request. Here the token comes from the settings or
    the database. `bot.slack.workspace.CheckWorkspace` refuses requests of other workspaces.
    """
    services = Services.of(settings, database)
    store_click = StoreClick(services)
    secret = settings.slack_signing_secret
    # With an OAuth flow, Bolt ignores a plain function and calls Slack for each request.
    authorize = CallableAuthorize(logger=log, func=_authorize(services.database))
    app = TracedApp(
        name="retention",
        client=services.client,
        signing_secret=secret.get_secret_value() if secret else "",
        authorize=authorize,  # type: ignore[arg-type]
        oauth_flow=Flow(services.database) if settings.oauth else None,
        listener_executor=Listeners(
            store_click.finish, max_workers=LISTENERS, thread_name_prefix="listener"
        ),
        request_verification_enabled=True,
        ignoring_self_events_enabled=False,  # bot.slack.conversation ignores messages of apps
    )
    refusals = Refusals()
    app.error(Failures(services, refusals).handle)
    app.use(CheckWorkspace(own or OwnWorkspace(services.database)))
    app.use(acknowledged_once)
    app.use(refusals)
    app.use(RequestLimit())
    app.use(clean_text)
    app.use(speak or SpeakLanguage(services.database))
    app.use(store_click)
    app.use(StoreReply(services))
    slash.register(app, services)
    conversation.register(app, services)
    groups.register(app, services)
    register_all(app, services)
    entries(root())  # imports every command before the first request
    return app


def _authorize(database: Database):
    def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        token = bot_token(database)
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, bot_token=token)

    return authorize
