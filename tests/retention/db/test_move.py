"""Test that a move ends with a whole copy, and leaves the old installation as it was."""

import hashlib
import multiprocessing
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text

from retention import clock
from retention.db import Database
from retention.db.copying import copy_database
from retention.db.tables import Job, ListMember, Process
from retention.errors import BadInput
from retention.installation.move import move
from retention.lake import Lake
from retention.settings import Settings
from tests.postgres import make_empty
from tests.retention.db.filled import ROWS, stored
from tests.world import add, scalar

LOG = "copying items/_delta_log/00000000000000000000.json"
STEPS = (
    *("copying roles", "copying audit_links", "copying sends", "copying source_runs"),
    *("checking alerts", "checking source_runs", LOG),
)


@pytest.fixture
def desk(filled_file, tmp_path):
    """A stopped desk on SQLite with rows in every table, and a lake."""
    settings = Settings(home=tmp_path / "home", _env_file=None)
    assert settings.key
    shutil.copy(filled_file, settings.home)
    database = Database(settings.database_url.get_secret_value(), settings)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE processes SET seen_at = '2025-01-01 00:00:00.000000'"))
    Lake.open(settings).upsert("items", pd.DataFrame({"item_id": ["i1"], "title": ["Tea"]}))
    database.engine.dispose()
    yield database
    database.engine.dispose()


@pytest.fixture
def there(postgres_url, tmp_path) -> Settings:
    make_empty(postgres_url)
    own = {"secret_key": "k" * 32, "_env_file": None}
    return Settings(home=tmp_path / "there", database_url=postgres_url, **own)


def url_of(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def killed_at(step: str, desk: Database, to: str, lake: str) -> None:
    """Move in a process that ends itself with SIGKILL before a step."""
    # A new interpreter: a forked one would share the threads of libraries, and may crash.
    start = multiprocessing.get_context("spawn")
    child = start.Process(target=_move_until, args=(step, desk.settings, to, lake))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


def _move_until(step: str, settings: Settings, to: str, lake: str) -> None:
    def end(done, total, what):
        if what == step:
            os.kill(os.getpid(), signal.SIGKILL)

    move(Database(url_of(settings), settings), to, lake, progress=end)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("step", STEPS)
def test_killed_move_begins_again_and_the_old_desk_stays(desk, there, tmp_path, step):
    before, lake = files(desk.settings.home), tmp_path / "lake"
    killed_at(step, desk, url_of(there), str(lake))
    new = Database(url_of(there))
    with new.engine.connect() as connection:
        assert not connection.dialect.has_table(connection, "roles")
    moved = move(desk, url_of(there), str(lake))
    assert files(desk.settings.home) == before
    assert (moved.rows, moved.files) == (ROWS * moved.tables, len(files(lake)))
    back = Settings(home=tmp_path / "back", _env_file=None)
    copy_database(new, back)
    new.engine.dispose()
    assert stored(back.home / "state.db") == stored(desk.settings.home / "state.db")
    assert moved.settings[1:] == [
        f"RETENTION_LAKE_URL=duckdb://{lake}",
        f"RETENTION_SECRET_KEY_FILE={desk.settings.home}/secret.key",
    ]
    title = Lake.open(desk.settings.model_copy(update={"lake_url": f"duckdb://{lake}"}))
    assert title.table("items").execute()["title"].tolist() == ["Tea"]


@pytest.mark.nightly
def test_writers_of_the_old_database_wait_during_a_move(desk, there):
    refused = []

    def write(done, total, what):
        if what == "copying roles" and not refused:
            other = Database(url_of(desk.settings), desk.settings)
            with other.engine.connect().execution_options(alone=True) as connection:
                connection.exec_driver_sql("PRAGMA busy_timeout=1")
                try:
                    connection.exec_driver_sql("DELETE FROM roles")
                except Exception as error:
                    refused.append(str(error))
            other.engine.dispose()

    move(desk, url_of(there), progress=write)
    assert "locked" in refused[0]


def _process(desk):
    add(desk, Process(name="sender@host", role="sender"))


def _job(desk):
    with desk.engine.begin() as connection:
        job = connection.scalar(select(Job.id).limit(1))
        lease = clock.wall() + timedelta(minutes=1)
        values = {"state": "running", "lease_until": lease, "worker": "sweep@host"}
        connection.execute(Job.__table__.update().where(Job.id == job).values(values))


@pytest.mark.nightly
@pytest.mark.parametrize(("start", "name"), [(_process, "sender@host"), (_job, "sweep@host")])
def test_running_desk_is_not_moved(desk, there, start, name):
    start(desk)
    with pytest.raises(BadInput, match=name):
        move(desk, url_of(there))


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: "mysql://me:hidden@host/desk", "mysql://…"),
        (lambda _: "hidden", "no URL"),
        (lambda _: "postgresql://me:hidden@host:port/desk", "write it like"),
        (lambda _: "postgresql://me:hid@hidden@localhost/desk", "%40"),
        (lambda url: url.replace("/postgres?", "/nowhere?"), 'database "nowhere" does not exist'),
        (lambda _: "postgresql://me:hidden@127.0.0.1:9/desk", "check its host"),
    ],
)
def test_unusable_new_database_is_one_sentence_without_its_password(desk, there, change, says):
    with pytest.raises(BadInput) as error:
        move(desk, change(url_of(there)))
    sentence = str(error.value)
    assert says in sentence
    assert "hidden" not in sentence
    assert "\n" not in sentence


@pytest.mark.nightly
def test_wrong_password_is_one_sentence(desk, there, postgres_url):
    folder = scalar(Database(postgres_url), text("SHOW data_directory"))
    rules, database = Path(folder) / "pg_hba.conf", Database(postgres_url)
    before = rules.read_text()
    with database.engine.begin() as connection:
        connection.execute(text("CREATE ROLE moving LOGIN PASSWORD 'right'"))
    try:
        rules.write_text(f"local all moving scram-sha-256\n{before}")
        with database.engine.begin() as connection:
            connection.execute(text("SELECT pg_reload_conf()"))
        to = database.url.set(username="moving", password="hidden")
        with pytest.raises(BadInput, match="password authentication failed") as error:
            move(desk, to.render_as_string(hide_password=False))
        assert "hidden" not in str(error.value)
    finally:
        rules.write_text(before)
        with database.engine.begin() as connection:
            connection.execute(text("SELECT pg_reload_conf()"))
            connection.execute(text("DROP ROLE moving"))
        database.engine.dispose()


@pytest.mark.nightly
def test_second_move_is_refused_and_changes_nothing(desk, there):
    move(desk, url_of(there))
    with pytest.raises(BadInput, match="not empty"):
        move(desk, url_of(there))
    new = Database(url_of(there))
    assert scalar(new, select(func.count()).select_from(ListMember)) == ROWS
    new.engine.dispose()
    with pytest.raises(BadInput, match="already"):
        move(desk, url_of(desk.settings))


@pytest.mark.nightly
def test_lake_goes_into_an_empty_folder_only(desk, there, tmp_path):
    lake = Path(desk.settings.lake_url.partition("://")[2])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("of somebody else")
    for folder, says in (
        (tmp_path / "full", "not empty"),
        (lake / "inner", "in the old lake"),
        (lake, "in the old lake"),
        ("s3://bucket/lake", "name a folder"),
    ):
        with pytest.raises(BadInput, match=says):
            move(desk, url_of(there), str(folder))
    assert (tmp_path / "full" / "file").exists()


@pytest.mark.nightly
def test_move_names_the_files_of_replaced_keys(desk, there):
    path = desk.settings.home / "secret.key"
    path.write_text(f"{'n' * 64}\n{path.read_text()}")
    settings = desk.settings.model_copy(update={"secret_key": SecretStr("")})
    key, old = move(desk.using(settings), url_of(there)).settings[1:]
    assert key.startswith("RETENTION_SECRET_KEY=***")
    assert old == f"RETENTION_OLD_SECRET_KEYS_FILE={path}"
    assert "n" * 64 not in key
