"""The peer of the slash command: a Bolt app that verifies the signature and acknowledges, under our own gunicorn."""

from collections.abc import Iterable
from typing import Any

from slack_bolt import Ack, App
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request import BoltRequest

import bot.server
import bot.web
from retention.settings import Settings


class Bare:
    """WSGI around an app whose one listener only acknowledges."""

    def __init__(self, settings: Settings) -> None:
        assert settings.slack_signing_secret is not None
        self.app = App(
            signing_secret=settings.slack_signing_secret.get_secret_value(),
            authorize=lambda **_: AuthorizeResult(
                enterprise_id=None, team_id="T0", bot_token="xoxb-bench", bot_user_id="U0BOT"
            ),
        )
        self.app.command("/retention")(_acknowledge)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        headers = {
            name[5:].replace("_", "-").lower(): [value]
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        headers["content-type"] = [environ.get("CONTENT_TYPE", "")]
        answer = self.app.dispatch(BoltRequest(body=body, headers=headers))
        content = (answer.body or "").encode()
        start_response(
            f"{answer.status} OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))]
        )
        return [content]


def _acknowledge(ack: Ack) -> None:
    ack("queued")


if __name__ == "__main__":
    bot.web.Site = Bare  # type: ignore[assignment, misc]  # the same server, with nothing behind it
    bot.web.start = lambda _: None  # type: ignore[assignment]
    bot.server.main()
