"""The SQL database: SQLite (WAL) by default, PostgreSQL in production. Same code, same guarantees."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, bindparam, create_engine, event, make_url, select
from sqlalchemy.orm import Session

from retention import clock
from retention.db.driver import driven
from retention.db.tables import BusinessClock
from retention.folders import private
from retention.settings import Settings

# Asked for again and again: to put a statement together takes longer than to run it.
_OFFSET = select(BusinessClock.offset_seconds).where(BusinessClock.team_id == bindparam("team_id"))

SYNCHRONOUS = "FULL"  # SQLite: a committed job survives a power cut
_DISCREET: dict[str, Any] = {
    "hide_parameters": True
}  # an error ends in a log; parameters are codes, ids and addresses


class Database:
    """An engine and its transactions.

    Parameters
    ----------
    url : str
        SQLAlchemy URL.

    Notes
    -----
    On SQLite every transaction is ``BEGIN IMMEDIATE`` (writers queue instead of failing half-way) with WAL,
    a busy time-out of 10 s and ``synchronous=FULL``: a committed job survives a power cut.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        with driven(url):
            self.engine = _sqlite(url) if self.is_sqlite else _postgres(url)

    @classmethod
    def of(cls, settings: Settings) -> "Database":
        """The installation's database; also makes it the source of business time."""
        database = cls(settings.database_url.get_secret_value())
        clock.configure(fixed=settings.now, offset=lambda: database.clock_offset(settings.team_id))
        return database

    @cached_property
    def _reading(self) -> Engine:
        return self.engine.execution_options(readonly=True)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction: commits at the end, rolls back on any exception."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that writes nothing."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    def clock_offset(self, team_id: str) -> timedelta:
        """How far business time is from real time."""
        with self._reading.connect() as connection:
            seconds = connection.scalar(_OFFSET, {"team_id": team_id})
        return timedelta(seconds=seconds or 0)

    def dispose(self) -> None:
        """Drop all connections (after a fork, at exit)."""
        self.engine.dispose(close=False)


def _postgres(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    # A way that was cut says nothing: without these a commit would wait for its answer for a quarter of an hour, and every
    # command of the bot behind it. A URL may say otherwise.
    cut = {
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    # Prepared, a statement would keep for good the plan that it got while its tables were small: of 500 codes looked up in
    # 45,000 rows that is a sequential scan with 500 comparisons a row, 1.05 s; planned anew, 6 ms.
    unprepared = {"connect_timeout": 2, "prepare_threshold": None}
    arguments = {
        name: value for name, value in (unprepared | cut).items() if name not in parsed.query
    }
    return create_engine(
        parsed,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=10,
        connect_args=arguments,
        **_DISCREET,
    )


def _sqlite(url: str) -> Engine:
    path = make_url(url).database
    if path and not path.startswith("file:"):  # a URI of SQLite's, such as one that opens read-only
        private(Path(path).parent)
    engine = create_engine(
        url, connect_args={"timeout": 10, "check_same_thread": False}, **_DISCREET
    )

    @event.listens_for(engine, "connect")
    def _connect(connection, _record) -> None:
        connection.isolation_level = None  # we emit BEGIN ourselves
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={SYNCHRONOUS}",
            "busy_timeout=10000",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection) -> None:
        readonly = connection.get_execution_options().get("readonly")
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine
