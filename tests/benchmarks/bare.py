"""The peer of the slash command: a Bolt app that only acknowledges, on gunicorn's threads.

It verifies the signature first.
"""

from collections.abc import Iterable
from typing import Any

from gunicorn.app.base import BaseApplication
from slack_bolt import Ack, App
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request import BoltRequest

from retention.settings import Settings

THREADS = 16


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
            f"{answer.status} OK",
            [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))],
        )
        return [content]


def _acknowledge(ack: Ack) -> None:
    ack("started")


class Server(BaseApplication):
    """gunicorn with one worker of threads."""

    def load_config(self) -> None:
        options = {
            "bind": f"127.0.0.1:{Settings().port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": THREADS,
            "timeout": 60,
            "graceful_timeout": 5,
            "keepalive": 30,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Bare:
        return Bare(Settings())


if __name__ == "__main__":
    Server().run()
