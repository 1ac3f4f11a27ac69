"""One at a time: transactions that must not decide side by side on what the other has not committed yet."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def wait_turn(session: Session, what: str) -> None:
    """Wait until no other transaction has its turn at ``what``, and keep it to the end of this one.

    SQLite's writers wait for each other anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))
