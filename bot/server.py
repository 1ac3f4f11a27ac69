"""The bot's server: gunicorn with threads; never Bolt's built-in one. ``python -m bot.server`` starts it.

The master process loads neither the app nor a database: the worker builds its own after the fork, and is replaced
should it die. A second one would wait with the first for SQLite's one writer; it was slower.
"""

import logging
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from retention.settings import Settings, load_settings_or_exit

if TYPE_CHECKING:
    from bot.web import Site

THREADS = 16  # of one process: commands that come together are stored together (`bot.intake`)


@cache
def site() -> "Site":
    """This process's site, made at its first use."""
    from bot.web import Site

    return Site(Settings())


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """WSGI, for any server: ``gunicorn --worker-class gthread bot.server:app``."""
    return site()(environ, start_response)


def main(settings: Settings | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises
    ------
    SystemExit
        With a sentence, where no Slack app is configured.
    """
    settings = settings or load_settings_or_exit()
    if missing := nothing_to_serve(settings):
        sys.exit(missing)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _serve(settings)


def nothing_to_serve(settings: Settings) -> str:
    """Why the bot cannot start, or an empty string."""
    ours = settings.slack_bot_token or settings.oauth
    if ours and (settings.slack_app_token or settings.slack_signing_secret):
        return ""
    return (
        "The bot needs SLACK_BOT_TOKEN (or SLACK_CLIENT_ID and SLACK_CLIENT_SECRET, to be installed by OAuth) with "
        "SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (HTTP); without them only the workers run."
    )


def _serve(settings: Settings) -> None:
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):
        def load_config(self) -> None:
            options = {
                "bind": f"{'127.0.0.1' if settings.demo else '0.0.0.0'}:{settings.port}",  # noqa: S104
                "worker_class": "gthread",
                "workers": 1,
                "threads": THREADS,
                "timeout": 60,
                "graceful_timeout": 5,
                "keepalive": 30,
                "proc_name": "retention-bot",
                "control_socket_disable": True,
                "post_worker_init": _start,
            }
            for name, value in options.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            from bot.web import Site

            return Site(settings)

    Server().run()


def _start(worker: Any) -> None:
    from bot.web import start

    start(worker.wsgi)


if __name__ == "__main__":
    main()
