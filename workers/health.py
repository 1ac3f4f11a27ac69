"""Check one role: ``python -m workers.health ROLE``.

The exit status is 0 while this host's process of the role lives. The bot answers over HTTP. The
other roles report themselves in the database, which ``/health`` reads, too.
"""

import socket
import sys
import urllib.error
import urllib.request

from sqlalchemy.exc import SQLAlchemyError

from retention.db import Database
from retention.settings import Settings, load_settings_or_exit
from workers.queue import live_processes


def healthy(settings: Settings, role: str) -> bool:
    """Return whether a role is healthy here.

    The database must answer, too. The bot checks that itself.

    `role`: ``bot``, ``tick``, ``sender`` or ``worker:QUEUE``.
    """
    if role == "bot":
        return _answers(f"http://127.0.0.1:{settings.port}/health/ready")
    database = Database(settings.database_url.get_secret_value(), settings)
    try:
        with database.reading() as session:
            return f"{role}@{socket.gethostname()}" in live_processes.alive(session)
    except SQLAlchemyError:
        return False
    finally:
        database.engine.dispose()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy(load_settings_or_exit(), sys.argv[1]) else 1)
