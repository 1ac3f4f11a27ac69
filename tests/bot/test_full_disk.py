"""The real bot server on a disk that is full."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode

import pytest
from slack_sdk.signature import SignatureVerifier
from sqlalchemy import func, select, text

from bot import health
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Base, Job
from retention.settings import Settings
from tests.bot.test_slash import until
from tests.bot.wire import ADMIN, PAYLOADS, SECRET
from tests.disk import fill, small_disk
from tests.end_to_end.desk import free_port
from tests.postgres import postgres


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def sweep(port: int, number: int) -> str:
    """Send a signed slash command; returns the answer."""
    recorded = dict(parse_qsl((PAYLOADS / "slash_command.urlencoded").read_text().strip()))
    body = urlencode(recorded | {"text": "sweep", "user_id": ADMIN, "trigger_id": f"1.{number}"})
    stamp = str(int(time.time()))
    signature = SignatureVerifier(SECRET).generate_signature(timestamp=stamp, body=body) or ""
    signed = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature}
    status, answer = ask(port, "/slack/events", body.encode(), **signed)
    assert status == 200
    return answer


@contextmanager
def server(home, port: int):
    environment = os.environ | {
        "RETENTION_HOME": str(home), "RETENTION_PORT": str(port), "RETENTION_DEMO": "true", "RETENTION_ADMINS": ADMIN,
        "SLACK_BOT_TOKEN": "xoxb-test", "SLACK_SIGNING_SECRET": SECRET, "SLACK_API_URL": "http://127.0.0.1:9/api/",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "bot.server"], env=environment, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.desk
def test_bot_names_the_full_disk_and_is_not_ready(tmp_path):
    port = free_port()
    with small_disk(tmp_path / "disk") as disk:
        settings = Settings(home=disk / "home", _env_file=None)
        upgrade(settings)
        with server(settings.home, port) as process:
            until(lambda: ask(port, "/health/ready")[0] == 200, 60)
            assert "queued" in sweep(port, 0)
            filler = fill(disk)
            refused = until(lambda: "full" in (answer := sweep(port, time.monotonic_ns())) and answer, 60)
            assert "The disk of the server is full" in refused
            assert f"The operator must free space in {settings.home}" in refused
            assert "our side" not in refused
            assert "does not answer" not in refused
            until(lambda: ask(port, "/health/ready")[0] == 503, 60)
            assert ask(port, "/health/live")[0] == 200
            assert f'"folder": "{settings.home}"' in ask(port, "/health")[1]
            filler.unlink()
            until(lambda: ask(port, "/health/ready")[0] == 200, 60)
            assert "queued" in sweep(port, time.monotonic_ns())
        log = process.stderr.read().decode()
        assert "disk_full" in log
        reference = refused.partition("under the reference ")[2][:8]
        assert f"reference {reference}: disk_full ({settings.home})" in log
        with Database.of(settings).reading() as session:
            assert session.scalar(select(func.count()).select_from(Job)) >= 2


def test_busy_database_is_ready(database):
    with database.transaction() as session:
        session.execute(select(1))  # takes SQLite's write lock
        assert health.database_answers(database)


def test_damaged_database_is_not_ready(tmp_path):
    (tmp_path / "state.db").write_bytes(b"no database" * 500)
    assert not health.database_answers(Database(f"sqlite:///{tmp_path}/state.db"))


def test_probe_keeps_its_answer_for_a_few_seconds(database, monkeypatch):
    asked = []
    monkeypatch.setattr(health, "_takes_a_write", lambda database: not asked.append(database))
    assert [health.database_answers(database) for _ in range(3)] == [True, True, True]
    assert len(asked) == 1


def test_read_only_postgresql_is_not_ready():
    with postgres() as url:
        database = Database(url)
        Base.metadata.create_all(database.engine)
        assert health.database_answers(database)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ALTER DATABASE postgres SET default_transaction_read_only = on"))
        database.engine.dispose()
        again = Database(url)
        assert not health.database_answers(again)
        again.engine.dispose()
