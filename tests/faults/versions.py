"""Migrations are killed half-way, and the old version goes on writing into the new schema.

The data are those of a home that an old version made. Lost: a row that a killed or repeated
migration dropped, a database between two revisions, or a row that the old version cannot store.
"""

import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from retention.db import Base, Database
from retention.db.migrate import upgrade
from tests.faults import killed_jobs
from tests.faults.crash_points import Forks
from tests.faults.frame import ROOT, Counts
from tests.postgres import make_empty

FROZEN = ROOT / "tests" / "frozen_home"
SHARE_OF_KILLS = 0.6
SINCE_THEN = "slack_oauth_states"  # lives for minutes


def count_row(injections: int, seed: int) -> Counts:
    """Kill so many migrations and store so many rows as the old version does, and count."""
    chance, counts = random.Random(seed), Counts()
    with killed_jobs.installation() as (settings, database):
        key = json.loads((FROZEN / "golden" / "home.json").read_text("utf-8"))["secret_key"]
        os.environ["RETENTION_SECRET_KEY"] = key
        settings = killed_jobs.settings_of(settings.home)
        with tarfile.open(FROZEN / "home.tar.xz") as file:
            file.extractall(settings.home / "old", filter="data")
        old = Old(settings.home / "old" / "home" / "state.db")
        forks = Forks(settings, database, chance)
        kills = round(injections * SHARE_OF_KILLS)
        old.restore(database, lambda revision: upgrade(settings, revision))
        forks.run("migration", lambda _: upgrade(settings))  # to know how many points it has
        is_old = False
        for _ in range(kills):
            if not is_old:
                old.restore(database, lambda revision: upgrade(settings, revision))
            died = forks.crash("migration", lambda _: upgrade(settings))
            counts.inject(hit=died)
            is_old = _revision(database) == old.revision
            _compare(database, old, counts, "killed")
            if not is_old:
                upgrade(settings)
                _compare(database, old, counts, "repeated")
        if is_old:
            upgrade(settings)
            _compare(database, old, counts, "repeated")
        _store_as_before(database, old, counts, injections - kills, settings)
        old.engine.dispose()
    return counts


class Old:
    """The database that the old version left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = sa.create_engine(f"sqlite:///{path}")
        self.reflected = sa.MetaData()
        self.reflected.reflect(self.engine)
        names = [table.name for table in Base.metadata.sorted_tables]
        self.tables = [name for name in names if name in self.reflected.tables]
        with self.engine.connect() as connection:
            statement = sa.text("SELECT version_num FROM alembic_version")
            self.revision = str(connection.scalar(statement))

    def columns(self, name: str) -> sa.TableClause:
        """Return a table with the old columns and without any default of today's code."""
        today = Base.metadata.tables[name].columns
        old = self.reflected.tables[name].columns
        return sa.table(
            name, *(sa.column(c.name, today[c.name].type) for c in old if c.name in today)
        )

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a table."""
        with self.engine.connect() as connection:
            return [
                dict(row) for row in connection.execute(sa.select(self.columns(name))).mappings()
            ]

    def restore(self, database: Database, upgrade_to: Any) -> None:
        """Make a database what it was."""
        database.engine.dispose()
        if database.is_sqlite:
            path = Path(str(database.url.database))
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
            shutil.copyfile(self.path, path)
            return
        make_empty(database.url.render_as_string(hide_password=False))
        upgrade_to(self.revision)
        with database.engine.begin() as connection:
            for name in self.tables:
                if rows := self.rows(name):
                    connection.execute(sa.insert(self.columns(name)), rows)


def _revision(database: Database) -> str:
    with database.engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


def _compare(database: Database, old: Old, counts: Counts, when: str) -> None:
    with database.engine.connect() as connection:
        for name in old.tables:
            stored = connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0
            with old.engine.connect() as before:
                expected = before.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0
            counts.expect(stored >= expected, f"{when}: {name} has {stored} of {expected} rows")
        tables = {*sa.inspect(connection).get_table_names()}
    is_new = _revision(database) != old.revision
    missing = {*Base.metadata.tables} - tables if is_new else set()
    counts.expect(not missing, f"{when}: half migrated, without {sorted(missing)}")


def _store_as_before(
    database: Database, old: Old, counts: Counts, rows: int, settings: Any
) -> None:
    """Store rows with the columns of the old version in an empty database of today."""
    database.engine.dispose()
    if database.is_sqlite:
        path = Path(str(database.url.database))
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    else:
        make_empty(database.url.render_as_string(hide_password=False))
    upgrade(settings)
    for name, row in _first(old, rows):
        counts.inject()
        line = ""
        try:
            with database.engine.begin() as connection:
                connection.execute(sa.insert(old.columns(name)), [row])
        except sa.exc.SQLAlchemyError as error:
            line = f"the old version cannot store a row of {name}: {str(error)[:300]}"
        counts.expect(not line, line)


def _first(old: Old, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield some rows of each table, parents before children."""
    each = max(number // len(old.tables), 1)
    with suppress(StopIteration):
        for name in old.tables:
            rows = old.rows(name)
            # Children may belong to any row, so that parents come with all of theirs.
            for row in rows[: max(each, 40)]:
                if number == 0:
                    return
                number -= 1
                yield name, row
