"""Test the real server on a full disk."""

from itertools import count

import pytest
from sqlalchemy import func, select, text

from bot.http import health
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Job
from retention.settings import Settings
from tests.bot.real_server import running_bot
from tests.bot.slack.test_slash import until
from tests.databases import create_tables
from tests.disk import fill, small_disk
from tests.postgres import postgres
from tests.standins.slack_api import TEAM
from tests.world import read


@pytest.mark.desk
def test_bot_names_the_full_disk_and_is_not_ready(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        settings = Settings(
            home=disk / "home", slack_api_url="http://127.0.0.1:9/api/", _env_file=None
        )
        upgrade(settings)
        environment = {"SLACK_TEAM_ID": TEAM, "RETENTION_DEFAULT_ROLE": "analyst"}
        with running_bot(settings, log_file=tmp_path / "bot.log", **environment) as bot:
            numbers = count(1)

            def ready() -> int:
                return bot.request("GET", "/health/ready")[0]

            def sweep() -> str:
                """Send a request that no other one equals, from another person."""
                number = next(numbers)
                return bot.command(f"sweep --top {number}", f"U0PERSON{number}")[1]["text"]

            until(lambda: ready() == 200, 60)
            assert "start" in sweep()
            filler = fill(disk)
            refused = until(lambda: "full" in (reply := sweep()) and reply, 60)
            assert "The disk of the server is full" in refused
            assert f"The operator must free space in {settings.home}" in refused
            assert not [part for part in ("our side", "does not answer") if part in refused]
            until(lambda: ready() == 503, 60)
            assert bot.request("GET", "/health/live")[0] == 200
            _, _, parts = bot.request("GET", "/health", port=bot.health_port)
            assert f'"folder": "{settings.home}"' in parts.decode()
            until(lambda: "The disk is full" in bot.command("status", "U0VIEWER")[1]["text"], 60)
            filler.unlink()
            until(lambda: ready() == 200, 60)
            until(lambda: "start" in sweep(), 60)
        assert "disk_full" in bot.log()
        reference = refused.partition("under the reference ")[2][:32]
        assert f"reference {reference}: disk_full ({settings.home})" in bot.log()
        with Database.of(settings).reading() as session:
            assert session.scalar(select(func.count()).select_from(Job)) >= 2


def test_busy_database_is_ready(database):
    with database.transaction() as session:
        session.execute(select(1))  # takes SQLite's write lock
        assert health.database_answers(database)


def test_damaged_database_is_not_ready(tmp_path):
    (tmp_path / "state.db").write_bytes(b"no database" * 500)
    database = Database(f"sqlite:///{tmp_path}/state.db")
    assert not health.database_answers(database)
    assert health.storage_problems(database) == [{"code": "database_down"}]


def test_status_names_a_full_disk_first(database, monkeypatch):
    full = {"up": False, "folder": "/", "free_bytes": 4_096}
    monkeypatch.setattr(health, "_disk", lambda database: full)
    state = read(database, health.overview, database)
    assert state["problems"][0] == {"code": "disk_full", "number": 4}


def test_probe_keeps_its_answer_for_a_few_seconds(database, monkeypatch):
    request = []
    monkeypatch.setattr(health, "_takes_a_write", lambda database: not request.append(database))
    assert [health.database_answers(database) for _ in range(3)] == [True, True, True]
    assert len(request) == 1


@pytest.mark.nightly
def test_read_only_postgresql_is_not_ready():
    with postgres() as url:
        database = Database(url)
        create_tables(database)
        assert health.database_answers(database)
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            statement = "ALTER DATABASE postgres SET default_transaction_read_only = on"
            connection.execute(text(statement))
        database.engine.dispose()
        again = Database(url)
        assert not health.database_answers(again)
        again.engine.dispose()
