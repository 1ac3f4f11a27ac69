"""Real faults of the machine: a full disk, a damaged lake, a locked or damaged database."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from retention.db import Database
from retention.db.migrate import upgrade
from retention.faults import Code, damaged_file, diagnose
from retention.lake import Lake
from retention.settings import Settings
from tests.disk import fill, small_disk


def raised(deed) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - which one is the library's choice
        deed()
    return caught.value


@pytest.fixture
def full(tmp_path):
    """An installation whose disk is full."""
    with small_disk(tmp_path / "disk") as disk:
        settings = Settings(home=disk / "home", _env_file=None)
        upgrade(settings)
        lake = Lake.open(settings)
        lake.upsert("items", pd.DataFrame({"item_id": ["i1"], "title": ["Tea"]}))
        fill(disk)
        yield settings, lake


def many(n: int = 20_000) -> pd.DataFrame:
    return pd.DataFrame({"item_id": [os.urandom(16).hex() for _ in range(n)], "title": "x"})


@pytest.mark.parametrize("what", ["database", "lake", "copy", "spill", "file", "arrow"])
def test_full_disk_is_named_with_its_folder(full, what):
    settings, lake = full

    def database():
        with Database.of(settings).transaction() as session:
            session.execute(text("CREATE TABLE more (x)"))
            session.execute(text("INSERT INTO more VALUES (randomblob(3000000))"))

    def copy():
        rows, file = "SELECT random() FROM range(1000000)", settings.home / "x.parquet"
        lake.duckdb.execute(f"COPY ({rows}) TO '{file}'")

    def spill():
        lake.duckdb.execute("SET memory_limit = '60MB'")
        rows = "SELECT md5(i::text) x FROM range(5000000) r(i) ORDER BY x"
        lake.duckdb.execute(f"CREATE TEMP TABLE t AS {rows}")

    deeds = {
        "database": database,
        "lake": lambda: lake.upsert("items", many()),
        "copy": copy,
        "spill": spill,
        "file": lambda: (settings.home / "x.csv").write_bytes(b"x" * 100_000),
        "arrow": lambda: many().to_parquet(settings.home / "x.parquet"),
    }
    fault = diagnose(raised(deeds[what]), settings)
    assert fault.code == Code.DISK_FULL
    assert fault.path.startswith(str(settings.home))
    assert fault.path in str(fault)


def parquet(lake: Path, table: str = "events") -> Path:
    return sorted((lake / table).rglob("*.parquet"))[0]


def commits(lake: Path, table: str = "events") -> list[Path]:
    return sorted((lake / table / "_delta_log").glob("*.json"))


def flip(path: Path, begin: float, end: float) -> None:
    content = bytearray(path.read_bytes())
    for place in range(int(len(content) * begin), int(len(content) * end)):
        content[place] ^= 0x5A
    path.write_bytes(content)


HARMS = {
    "deleted": lambda lake: parquet(lake).unlink(),
    "truncated": lambda lake: os.truncate(parquet(lake), 100),
    "empty": lambda lake: os.truncate(parquet(lake), 0),
    "data changed": lambda lake: flip(parquet(lake), 0.25, 0.5),
    "footer changed": lambda lake: flip(parquet(lake), 0.97, 0.99),
    "commit is no JSON": lambda lake: commits(lake)[0].write_text("{broken"),
    "commit is empty": lambda lake: commits(lake)[-1].write_text(""),
}


@pytest.mark.parametrize("harm", HARMS)
def test_damaged_lake_is_named_with_the_file(shop, tmp_path, harm):
    home = tmp_path / "home"
    shutil.copytree(shop.settings.home, home)
    settings = Settings(home=home, _env_file=None)
    lake = home / "lake"
    before = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    HARMS[harm](lake)
    changed = [
        path
        for path, content in before.items()
        if not path.exists() or path.read_bytes() != content
    ]
    fault = diagnose(raised(lambda: Lake.open(settings).table("events").execute()), settings)
    assert fault.code == Code.LAKE_DAMAGED
    assert [fault.path] in ([str(changed[0])], [str(lake / "events" / "_delta_log")])
    assert "retention restore" in fault.remedy


def test_undamaged_lake_is_not_blamed_for_a_wrong_query(shop):
    lake = Lake.open(shop.settings)
    assert damaged_file(lake.root, deep=True) is None
    for query in ("SELECT no_such_column", "SELECT 1 / 'a'", "SELECT strptime('x', '%Y')"):
        error = raised(lambda query=query: lake.duckdb.execute(query).fetchall())
        assert diagnose(error, shop.settings) is None


def test_damaged_and_locked_databases_differ(settings):
    upgrade(settings)
    path = settings.home / "state.db"
    database = Database.of(settings)

    def write():
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    database.dispose()
    holder = sqlite3.connect(path)
    holder.execute("BEGIN IMMEDIATE")
    from sqlalchemy import event

    event.listen(database.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout=1"))
    fault = diagnose(raised(write), settings)
    assert (fault.code, "busy" in str(fault)) == (Code.DATABASE_BUSY, True)
    holder.close()
    database.dispose()
    for file in settings.home.glob("state.db-*"):
        file.unlink()
    content = path.read_bytes()
    path.write_bytes(b"\0" * 100 + content[100:])

    def read():
        with Database.of(settings).reading() as session:
            session.execute(text("SELECT count(*) FROM jobs"))

    fault = diagnose(raised(read), settings)
    assert (fault.code, fault.path) == (Code.DATABASE_DAMAGED, str(path))


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("53100", Code.DISK_FULL),
        ("57P03", Code.DATABASE_STARTING),
        ("XX001", Code.DATABASE_DAMAGED),
        ("XX002", Code.DATABASE_DAMAGED),
        ("23505", None),
    ],
)
def test_sqlstate_identifies_postgresql_faults(settings, state, code):
    class Error(Exception):
        sqlstate = state

    fault = diagnose(DBAPIError("x", {}, Error("some text")), settings)
    assert (fault and fault.code) == code


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, Code.DISK_FULL),
        (errno.EDQUOT, Code.DISK_FULL),
        (errno.EROFS, Code.READ_ONLY),
        (errno.ENOENT, None),
    ],
)
def test_errno_is_found_among_the_causes(settings, number, code):
    try:
        try:
            raise OSError(number, os.strerror(number), "/data/file")
        except OSError as error:
            raise RuntimeError("something else") from error
    except RuntimeError as error:
        fault = diagnose(error, settings)
    assert (fault and (fault.code, fault.path)) == (code and (code, "/data"))


def test_duckdb_errno_counts_without_its_words(settings):
    message = '{"exception_type":"IO","exception_message":"Kein Platz","errno":"28"}'
    fault = diagnose(duckdb.IOException(message), settings)
    assert fault.code == Code.DISK_FULL
