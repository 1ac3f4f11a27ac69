"""Copy all rows of a database into an empty one, and compare both.

One transaction fills the new database, so a copy that is cut short leaves it as it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, OperationalError

from retention.db import migrate
from retention.db.engine import Database
from retention.db.tables import Base
from retention.errors import BadInput
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

_BATCH = 1_000
_TABLES = Base.metadata.sorted_tables  # those that others refer to come first
_VERSION = "alembic_version"


@dataclass(slots=True)
class _Content:
    """Count and hash of a table's rows. The order of the rows, which databases sort otherwise,
    changes neither."""

    rows: int = 0
    digest: int = 0

    def add(self, row: Any) -> None:
        self.rows += 1
        self.digest += int.from_bytes(sha256(repr(tuple(row)).encode()).digest())


@contextmanager
def one_moment(database: Database, *, fence: bool = False) -> Iterator[Connection]:
    """Open a transaction that reads one moment. `fence`: others cannot write until it ends.

    Raises `BadInput`: the database does not have this version's schema.
    """
    if migrate.revision_of(database) != migrate.newest_revision():
        raise BadInput(
            gettext("The database does not have this version's schema; run: retention db upgrade")
        )
    options: dict[str, Any] = {"readonly": not fence}  # SQLite
    if not database.is_sqlite:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with database.engine.connect().execution_options(**options) as connection:
        if fence and not database.is_sqlite:  # before the first query, which takes the snapshot
            names = ", ".join(table.name for table in _TABLES)
            connection.execute(text(f"LOCK TABLE {names} IN SHARE MODE"))
        yield connection
        connection.rollback()


@contextmanager
def filling(settings: Settings) -> Iterator[Connection]:
    """Open the transaction that fills the database of these settings, with this version's schema.

    Raises `BadInput`: it cannot be opened, or is not empty.
    """
    url = settings.database_url.get_secret_value()
    database = Database(url, settings)
    if "@" in (database.url.host or ""):  # an error would show the end of the password
        text = gettext("The URL of the new database has more than one @; write @ in it as %40.")
        raise BadInput(text)
    try:
        try:
            connection = database.engine.connect()
        except OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0]
            sentence = gettext(
                "The new database cannot be opened ({reason}); check its host, name, user and "
                "password."
            )
            raise BadInput(sentence.format(reason=reason)) from None
        with connection, connection.begin():
            migrate.lock(connection)  # waits for a copy that was killed to be undone
            _check_empty(connection)
            migrate.upgrade_within(connection, settings)
            yield connection
    finally:
        database.engine.dispose()


def copy_rows(
    source: Connection, target: Connection, progress: Progress = silent
) -> dict[str, int]:
    """Copy all rows, then compare counts and hashes. Return the number of rows by table.

    Raises `BadInput`: a row cannot be stored in the new database, or the copy differs.
    """
    total = sum(source.scalar(select(func.count()).select_from(table)) or 0 for table in _TABLES)
    contents, done = dict[str, _Content](), 0
    for table in _TABLES:
        content = contents[table.name] = _Content()
        for batch in source.execute(_rows(table)).partitions():
            progress(done, total, gettext("copying {name}").format(name=table.name))
            for row in batch:
                content.add(row)
            _store(target, table, batch)
            done += len(batch)
        _continue_numbers(table, target)
    for table in _TABLES:
        progress(total, total, gettext("checking {name}").format(name=table.name))
        copied = _Content()
        for row in target.execute(_rows(table)):
            copied.add(row)
        if copied != contents[table.name]:
            sentence = gettext(
                "The copy of the table {table} differs ({rows} rows, {copied} in the copy); "
                "nothing was kept."
            )
            values = {"rows": contents[table.name].rows, "copied": copied.rows}
            raise BadInput(sentence.format(table=table.name, **values))
    return {name: content.rows for name, content in contents.items()}


def copy_database(source: Database, settings: Settings) -> str:
    """Copy a database at one moment into the empty one of the settings; return its revision."""
    with one_moment(source) as rows, filling(settings) as target:
        copy_rows(rows, target)
        return migrate.newest_revision()


def _rows(table: Table) -> Select[Any]:
    """Select a table. JSON is read as it is stored: SQL's null differs from that of JSON."""
    columns = (
        cast(column, Text).label(column.name) if _is_json(column) else column for column in table.c
    )
    return select(*columns).execution_options(yield_per=_BATCH)


def _store(target: Connection, table: Table, rows: Sequence[Row[Any]]) -> None:
    """Insert rows. PostgreSQL takes them by COPY, which is many times as fast as INSERT."""
    names = table.c.keys()
    try:
        if target.dialect.name == "sqlite":
            kinds = {each.name: Text() if _is_json(each) else each.type for each in table.c}
            values = {name: bindparam(name, type_=kind) for name, kind in kinds.items()}
            given = [dict(zip(names, row, strict=True)) for row in rows]
            target.execute(insert(table).values(values), given)
            return
        raw: Any = target.connection
        columns = ", ".join(f'"{name}"' for name in names)
        copy = f'COPY "{table.name}" ({columns}) FROM STDIN'
        with raw.cursor() as cursor, cursor.copy(copy) as lines:
            for row in rows:
                lines.write_row(row)
    except (DBAPIError, target.dialect.loaded_dbapi.Error) as error:
        raise _unstorable(table, getattr(error, "orig", error)) from None


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON)


def _continue_numbers(table: Table, target: Connection) -> None:
    """Let PostgreSQL number new rows after the copied ones. SQLite does it by itself."""
    column = table.autoincrement_column
    if column is not None and target.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        statement = select(func.setval(sequence, func.max(column)))
        target.execute(statement.having(func.count() > 0))


def _check_empty(target: Connection) -> None:
    names = set(inspect(target).get_table_names())
    for name in sorted(names - {_VERSION}):
        table = Base.metadata.tables.get(name)
        if table is None or target.execute(select(text("1")).select_from(table).limit(1)).first():
            sentence = gettext(
                "The new database is not empty: it has the table {table}; name an empty one."
            )
            raise BadInput(sentence.format(table=name))
    revision = migrate.revision_within(target)
    if names and revision != migrate.newest_revision():
        sentence = gettext(
            "The new database has the tables of another version ({revision}); name an empty one."
        )
        raise BadInput(sentence.format(revision=revision))


def _unstorable(table: Table, error: BaseException) -> BadInput:
    """Name the table and the reason. The rest of the error may hold personal data."""
    reason = getattr(getattr(error, "diag", None), "message_primary", None)
    sentence = gettext(
        "A row of the table {table} cannot be stored in the new database ({reason}); correct it "
        "in the old one. Nothing was copied."
    )
    return BadInput(sentence.format(table=table.name, reason=reason or error))
