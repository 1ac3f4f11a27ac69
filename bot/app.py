"""The Slack app: one `build_app` for HTTP and for Socket Mode."""

from slack_bolt import App
from slack_bolt.authorization import AuthorizeResult

from bot import home, slash
from bot.commands import root
from bot.commands.catalogue import entries
from bot.failures import Failures
from bot.interactions import register_all
from bot.services import Services
from bot.threads import Listeners, acknowledged_once
from retention.db import Database
from retention.settings import Settings

LISTENERS = 32  # threads: a handler that waits for Slack must not starve the next acknowledgement


def build_app(settings: Settings, database: Database | None = None) -> App:
    """Make the Bolt app with every command, button and tab.

    Parameters
    ----------
    settings : Settings
        Without a signing secret every HTTP request is refused; Socket Mode needs none.
    database : Database, optional
        The installation's, by default.

    Notes
    -----
    Nothing here calls Slack: a request is authorised from the settings, so that Slack's API may be away.
    """
    services = Services.of(settings, database)
    secret = settings.slack_signing_secret
    app = App(
        name="retention",
        client=services.client,
        signing_secret=secret.get_secret_value() if secret else "",
        authorize=_authorize(settings),
        listener_executor=Listeners(LISTENERS, thread_name_prefix="listener"),
        request_verification_enabled=True,
        ignoring_self_events_enabled=False,  # it subscribes to none that it causes
    )
    app.error(Failures(services).handle)
    app.use(acknowledged_once)
    slash.register(app, services)
    home.register(app, services)
    register_all(app, services)
    entries(root())  # imports every command now rather than under the first person's three seconds
    return app


def _authorize(settings: Settings):
    token = settings.slack_bot_token.get_secret_value() if settings.slack_bot_token else None

    def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, bot_token=token)

    return authorize
