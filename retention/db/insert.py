"""Insert a row unless an equal key is there: the same words on SQLite and PostgreSQL."""

from functools import cache
from typing import Any

from sqlalchemy import Insert
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
    done = session.connection().execute(_insert_once(session.get_bind().dialect.name, table), values)
    return done.first() is not None  # PostgreSQL's driver does not always tell the row count


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
