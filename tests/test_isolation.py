"""Test the guards of tests: readonly.py, process_state.py and short_transactions.py."""

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import nullcontext

import pandas as pd
import pytest
from sqlalchemy import exc, func, select

from retention.db import Database
from retention.db.tables import DirectoryEntry
from retention.lake.importing.import_files import import_files
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from tests import process_state, readonly, short_transactions


def test_an_import_into_the_shared_shop_is_refused(shop, tmp_path):
    file = tmp_path / "customers.csv"
    file.write_text("customer_id,email\nc0007,other@example.com\n")
    with pytest.raises(readonly.SharedDataWrite, match="shop_copy"):
        import_files(shop.lake, shop.database, shop.settings, "customers", [str(file)])
    with pytest.raises(readonly.SharedDataWrite):
        shop.lake.upsert("customers", pd.DataFrame({"customer_id": ["c0007"]}))


@pytest.mark.parametrize("name", readonly.STORE_WRITERS)
def test_every_store_writer_refuses_the_shared_lake(shop, name):
    with pytest.raises(readonly.SharedDataWrite):
        getattr(delta_store, name)(shop.lake.root, TABLES["scores"])


def test_store_writers_are_all_listed():
    readers = {
        *("newest_commit", "version_number", "open_table", "version", "months", "files"),
        *(
            "row_count",
            "rows_sql",
            "partition_value",
            "to_arrow",
            "to_reader",
            "to_frame",
            "stored_columns",
        ),
        *("writer_properties", "data_state"),
    }
    functions = {
        name
        for name, value in vars(delta_store).items()
        if callable(value)
        and not isinstance(value, type)
        and value.__module__ == delta_store.__name__
    }
    assert {name for name in functions if not name.startswith("_")} == readers | set(
        readonly.STORE_WRITERS
    )


def test_the_shared_database_reads_but_does_not_write(shop):
    for database in (shop.database, Database.of(shop.settings)):
        with database.reading() as session:
            assert session.scalar(select(func.count()).select_from(DirectoryEntry)) == 300
        entry = DirectoryEntry(team_id="local", customer_id="new", pseudonym="0000-0000")
        with (
            pytest.raises(exc.OperationalError, match="readonly"),
            database.transaction() as session,
        ):
            session.add(entry)
    with pytest.raises(readonly.SharedDataWrite):
        sqlite3.connect(shop.settings.home / "state.db")


def test_files_of_the_shared_home_cannot_be_changed(shop, tmp_path):
    home = shop.settings.home
    (tmp_path / "file").touch()
    for write in (
        lambda: (home / "new.csv").write_text("x"),
        lambda: (home / "secret.key").open("a"),
        lambda: os.open(home / "new.csv", os.O_CREAT | os.O_WRONLY),
        lambda: (home / "secret.key").unlink(),
        lambda: (home / "secret.key").rename(tmp_path / "key"),
        lambda: (tmp_path / "file").rename(home / "file"),
        lambda: (home / "folder").mkdir(),
        lambda: (home / "secret.key").chmod(0o600),
    ):
        with pytest.raises(readonly.SharedDataWrite):
            write()
    assert (home / "secret.key").read_text()
    home.mkdir(exist_ok=True)  # changes nothing


def test_a_write_by_another_process_is_found_once(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with readonly.protected(home):
        readonly.verify()
        subprocess.run([sys.executable, "-c", f"open({str(home / 'new.csv')!r}, 'w')"], check=True)
        with pytest.raises(readonly.SharedDataWrite, match=r"new\.csv"):
            readonly.verify()
        readonly.verify()  # the tests after it are not blamed
    (home / "mine.csv").write_text("x")


def test_a_copy_of_the_shared_shop_can_be_changed(shop, shop_copy):
    customers = pd.DataFrame({"customer_id": ["c0007", "new"], "name": "Ann"})
    shop_copy.lake.upsert("customers", customers)
    with shop_copy.database.transaction() as session:
        session.add(DirectoryEntry(team_id="local", customer_id="new", pseudonym="0000-0000"))
    assert shop_copy.lake.table("customers").count().execute() == 301
    assert shop.lake.table("customers").count().execute() == 300
    assert shop_copy.settings.key == shop.settings.key
    files = delta_store.files(delta_store.open_table(shop_copy.lake.root, TABLES["events"]))
    assert files
    assert all(file.startswith(str(shop_copy.settings.home)) for file in files)


def test_changes_of_the_process_are_restored_and_reported(tmp_path):
    folder, level = os.getcwd(), logging.getLogger().level
    changes = r"environment: LEFT_BEHIND; working directory: .*; root log level"
    guard = process_state.unchanged()
    guard.__enter__()
    os.environ["LEFT_BEHIND"] = "a secret"
    os.chdir(tmp_path)
    logging.getLogger().setLevel(logging.DEBUG)
    with pytest.raises(AssertionError, match=changes):
        guard.__exit__(None, None, None)
    assert "LEFT_BEHIND" not in os.environ
    assert (os.getcwd(), logging.getLogger().level) == (folder, level)


@pytest.mark.parametrize(("opens", "found"), [("transaction", True), ("reading", False)])
def test_reading_the_lake_in_a_write_transaction_is_found(shop, shop_copy, opens, found):
    def work() -> None:
        with short_transactions.checked(), getattr(shop_copy.database, opens)() as session:
            session.scalar(select(func.count()).select_from(DirectoryEntry))
            shop.lake.table("events")

    with pytest.raises(AssertionError, match="TableCache") if found else nullcontext():
        work()
