"""``python -m workers.health ROLE``: exit status 0 while this host's process of that role lives, for health checks.

The bot is asked over HTTP; the others by when they last reported themselves in the database, as ``/health`` does.
"""

import socket
import sys
import urllib.error
import urllib.request

from sqlalchemy.exc import SQLAlchemyError

from retention.db import Database
from retention.settings import Settings, load_settings_or_exit
from workers import processes


def healthy(settings: Settings, role: str) -> bool:
    """Whether the process of this role (``bot``, ``tick``, ``sender``, ``worker:QUEUE``) on this host lives.

    The database must answer too; the bot says so itself.
    """
    if role == "bot":
        return _answers(f"http://127.0.0.1:{settings.port}/health/ready")
    database = Database(settings.database_url.get_secret_value())
    try:
        with database.reading() as session:
            return f"{role}@{socket.gethostname()}" in processes.alive(session)
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
