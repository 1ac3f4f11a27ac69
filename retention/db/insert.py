"""Insert a row unless an equal key is there: the same words on SQLite and PostgreSQL."""

from typing import Any

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
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    done = session.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())
    return bool(done.rowcount)  # type: ignore[attr-defined]


def upsert(session: Session, table: type[Base], key: dict[str, Any], **values: Any) -> None:
    """Insert the row ``key``, or give the one that is there these ``values``."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(**key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))
