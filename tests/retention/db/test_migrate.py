"""The migrations make exactly the tables that the code believes in, on both databases."""

import threading

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from retention.db import Base, Database
from retention.db.insert import insert_once, upsert
from retention.db.migrate import upgrade
from retention.db.tables import Delivery, Process


def test_the_migrations_equal_the_models(empty):
    upgrade(empty)
    database = Database(empty.database_url.get_secret_value())
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.engine.dispose()


def test_upgrading_again_changes_nothing(empty):
    assert upgrade(empty) == upgrade(empty) != ""


def test_several_processes_may_upgrade_at_once(empty):
    threads = [threading.Thread(target=upgrade, args=(empty,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database = Database(empty.database_url.get_secret_value())
    tables = set(inspect(database.engine).get_table_names())
    database.engine.dispose()
    assert set(Base.metadata.tables) <= tables
    assert upgrade(empty) != ""


def test_a_row_is_inserted_once_and_updated_in_place(empty):
    upgrade(empty)
    database = Database(empty.database_url.get_secret_value())
    with database.transaction() as session:
        assert insert_once(session, Delivery, key="k")
        assert not insert_once(session, Delivery, key="k")
        for pid in (1, 2):
            upsert(session, Process, {"name": "tick@here"}, role="tick", details={"pid": pid})
        session.expire_all()
        assert session.get_one(Process, "tick@here").details == {"pid": 2}
    database.engine.dispose()
