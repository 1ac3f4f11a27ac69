"""Insert, upsert, count and look up rows."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Insert, Table, any_, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from retention.db.engine import Transaction
from retention.db.tables import Base


def insert_once(session: Transaction, table: type[Base], **values: Any) -> bool:
    """Insert a row unless its unique key exists."""
    session.flush()  # the row may refer to pending ones
    result = session.connection().execute(
        _insert_once(session.get_bind().dialect.name, table), values
    )
    return result.first() is not None  # PostgreSQL's driver does not always set the row count


def insert_missing(session: Transaction, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert many rows unless their unique keys exist.

    PostgreSQL gets one statement with an array per column. SQLite gets one statement per row.
    """
    session.flush()
    if not rows:
        return
    connection, sql_table = session.connection(), cast(Table, table.__table__)
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(sql_table).on_conflict_do_nothing(), rows)
        return

    columns = [sql_table.c[name] for name in rows[0]]
    arrays = [
        bindparam(
            column.name, [row[column.name] for row in rows], type_=postgresql.ARRAY(column.type)
        )
        for column in columns
    ]
    lines = func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived()
    statement = postgresql.insert(sql_table).from_select(
        [column.name for column in columns], select(lines)
    )
    connection.execute(statement.on_conflict_do_nothing())


def among(session: Transaction, column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """Return the condition ``column IN values``.

    PostgreSQL gets an array: thousands of parameters cost more than the lookup.
    """
    if session.get_bind().dialect.name == "sqlite":
        return cast("ColumnElement[bool]", column.in_(values))

    array = bindparam(None, list(values), type_=postgresql.ARRAY(column.type), unique=True)
    return cast("ColumnElement[bool]", column == any_(array))


@cache
def _insert_once(dialect: str, table: type[Base]) -> Insert:
    """Build and cache the statement. Building takes ten times as long as running."""
    statement = _insert(dialect, table)
    return statement.on_conflict_do_nothing().returning(next(iter(table.__table__.primary_key)))


def _insert(dialect: str, table: type[Base]) -> Any:
    """Return the dialect's INSERT statement.

    The dialect of PostgreSQL is imported only where it is used: it takes 25 ms.
    """
    if dialect == "sqlite":
        return sqlite.insert(cast(Table, table.__table__))

    return postgresql.insert(cast(Table, table.__table__))


def changed(session: Transaction, statement: Any, **options: Any) -> int:
    """Run an UPDATE or DELETE; return the number of its rows."""
    return int(session.execute(statement, **options).rowcount)  # type: ignore[attr-defined]


def upsert(session: Transaction, table: type[Base], key: dict[str, Any], **values: Any) -> None:
    """Insert a row, or update the existing one."""
    statement = _insert(session.get_bind().dialect.name, table).values(**key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))
