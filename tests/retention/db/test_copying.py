"""Test that a copied database equals its source, or is not there."""

import shutil

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import OperationalError

from retention.clock import now as _now
from retention.db import Database, audit_chain
from retention.db.audit import record
from retention.db.copying import copy_database, copy_rows, filling, one_moment
from retention.db.migrate import upgrade
from retention.db.tables import Audit, Erasure, ListMember, RoleGrant
from retention.errors import BadInput
from retention.settings import Settings
from tests.postgres import make_empty
from tests.retention.db.filled import ROWS, stored
from tests.world import add, change, scalar


@pytest.fixture
def source(filled_file, tmp_path):
    """A SQLite database with rows in every table."""
    settings = Settings(home=tmp_path / "old", secret_key="k" * 32, _env_file=None)
    settings.home.mkdir()
    shutil.copy(filled_file, settings.home)
    database = Database(settings.database_url.get_secret_value(), settings)
    yield database
    database.engine.dispose()


@pytest.fixture
def there(postgres_url, tmp_path):
    """Settings of an empty database on PostgreSQL."""
    make_empty(postgres_url)
    own = {"secret_key": "k" * 32, "_env_file": None}
    return Settings(home=tmp_path / "there", database_url=postgres_url, **own)


@pytest.fixture
def moved(there):
    database = Database(there.database_url.get_secret_value(), there)
    yield database
    database.engine.dispose()


def test_copy_to_postgresql_and_back_is_equal_byte_by_byte(source, there, moved, tmp_path):
    back = Settings(home=tmp_path / "back", secret_key="k" * 32, _env_file=None)
    copy_database(source, there)
    copy_database(moved, back)
    before, after = stored(source.settings.home / "state.db"), stored(back.home / "state.db")
    assert all(len(rows) == ROWS for rows in before.values())
    assert after == before


def test_copied_database_goes_on_where_the_old_one_stopped(source, there, moved):
    with source.engine.begin() as connection:  # the chain begins with entries of its own
        for name in ("audit", "audit_links"):
            connection.execute(text(f"DROP TRIGGER {name}_no_delete"))
            connection.execute(text(f"DELETE FROM {name}"))
    for number in range(3):
        change(source, record, "U0LEAD", "role.grant", f"U{number}", _now(), {"n": 0.1})
    copy_database(source, there)
    change(moved, record, "U0LEAD", "role.grant", "U9", _now(), {})
    with moved.reading() as session:
        verified = audit_chain.verify(session)
    assert (verified.entries, verified.problems) == (4, ())
    with pytest.raises(Exception, match="append-only"), moved.engine.begin() as connection:
        connection.execute(text("DELETE FROM audit"))


@pytest.mark.nightly
def test_rows_written_meanwhile_are_not_in_the_copy(source, there, moved, tmp_path):
    copy_database(source, there)
    back = Settings(home=tmp_path / "back", secret_key="k" * 32, _env_file=None)
    written = []

    def write(done, total, what):
        if not written:
            add(moved, RoleGrant(user_id="U0NEW", role="viewer", granted_by="U1"))
            add(moved, Erasure(id_hash="f" * 64, key_id="1", by="U1"))
            written.append(what)

    with one_moment(moved) as rows, filling(back) as target:
        copy_rows(rows, target, write)
    assert written
    assert stored(back.home / "state.db") == stored(source.settings.home / "state.db")


@pytest.mark.nightly
def test_fence_keeps_writers_of_postgresql_waiting(source, there, moved):
    copy_database(source, there)
    with one_moment(moved, fence=True) as rows, moved.engine.connect() as other:
        other.execute(text("SET lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            other.execute(text("DELETE FROM list_members"))
        assert rows.scalar(select(func.count()).select_from(ListMember)) == ROWS


def test_copy_with_a_row_that_does_not_fit_leaves_nothing(source, there, moved):
    with source.engine.begin() as connection:  # SQLite checks no length
        values = {"name": "n" * 90, "customer_id": "c-secret", "added_at": _now()}
        connection.execute(insert(ListMember).values(values))
    with pytest.raises(BadInput, match="list_members") as error:
        copy_database(source, there)
    assert "c-secret" not in str(error.value)
    with moved.engine.connect() as connection:
        assert (
            connection.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
            == 0
        )


@pytest.mark.nightly
def test_changed_copy_is_refused(source, there, moved):
    def change_copy(done, total, what):
        if what == "checking roles":
            target.execute(text("UPDATE roles SET role = 'admin'"))

    with (
        pytest.raises(BadInput, match="roles"),
        one_moment(source) as rows,
        filling(there) as target,
    ):
        copy_rows(rows, target, change_copy)
    with moved.engine.connect() as connection:
        assert not connection.dialect.has_table(connection, "roles")


def _other_tables(connection):
    connection.execute(text("CREATE TABLE orders (id int)"))


def _old_version(connection):
    connection.execute(text("CREATE TABLE roles (user_id text)"))


@pytest.mark.nightly
@pytest.mark.parametrize(("make", "says"), [(_other_tables, "orders"), (_old_version, "version")])
def test_database_with_other_tables_is_refused(source, there, moved, make, says):
    with moved.engine.begin() as connection:
        make(connection)
    with pytest.raises(BadInput, match=says):
        copy_database(source, there)


@pytest.mark.nightly
def test_migrated_database_without_rows_is_filled_and_then_refused(source, there, moved):
    upgrade(there)
    copy_database(source, there)
    assert scalar(moved, select(func.count()).select_from(Audit)) == ROWS
    with pytest.raises(BadInput, match="not empty"):
        copy_database(source, there)


@pytest.mark.nightly
def test_database_of_an_older_version_is_not_copied(there, tmp_path):
    old = Settings(home=tmp_path / "older", secret_key="k" * 32, _env_file=None)
    upgrade(old, "0047_policy_proposals")
    database = Database(old.database_url.get_secret_value(), old)
    with pytest.raises(BadInput, match="db upgrade"):
        copy_database(database, there)
    database.engine.dispose()
