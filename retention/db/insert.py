"""Insert rows unless an equal key is there, find many by theirs: the same words on SQLite and PostgreSQL."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Insert, Table, any_, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from retention.db.tables import Base


def insert_once(session: Session, table: type[Base], **values: Any) -> bool:
    """``INSERT … ON CONFLICT DO NOTHING``.

    Returns
    -------
    bool
        Whether the row is ours. With False another transaction has committed a row with the same unique key
        (PostgreSQL waits for one that is still under way).
    """
    session.flush()  # what it refers to may still be on its way
    done = session.connection().execute(
        _insert_once(session.get_bind().dialect.name, table), values
    )
    return done.first() is not None  # PostgreSQL's driver does not always tell the row count


def insert_missing(session: Session, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """`insert_once` for many rows, all with the same columns, without asking which of them are ours.

    PostgreSQL gets an array a column in one statement; SQLite, which is no way off, one statement a row.
    """
    session.flush()
    if not rows:
        return
    connection, into = session.connection(), cast(Table, table.__table__)
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(into).on_conflict_do_nothing(), rows)
        return
    columns = [into.c[name] for name in rows[0]]
    arrays = [
        bindparam(
            column.name, [row[column.name] for row in rows], type_=postgresql.ARRAY(column.type)
        )
        for column in columns
    ]
    lines = func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived()
    made = postgresql.insert(into).from_select([column.name for column in columns], select(lines))
    connection.execute(made.on_conflict_do_nothing())


def among(session: Session, column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """``column IN values``. PostgreSQL gets them as one array: to spell thousands of parameters costs more than to look them up."""
    if session.get_bind().dialect.name == "sqlite":
        return cast("ColumnElement[bool]", column.in_(values))
    array = bindparam(None, list(values), type_=postgresql.ARRAY(column.type), unique=True)
    return cast("ColumnElement[bool]", column == any_(array))


@cache
def _insert_once(dialect: str, table: type[Base]) -> Insert:
    """The statement, built once: building it anew costs ten times what running it does."""
    made = (sqlite if dialect == "sqlite" else postgresql).insert(table.__table__)
    return made.on_conflict_do_nothing().returning(next(iter(table.__table__.primary_key)))


def upsert(session: Session, table: type[Base], key: dict[str, Any], **values: Any) -> None:
    """Insert the row ``key``, or give the one that is there these ``values``."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(**key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))
