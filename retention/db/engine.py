"""Open the SQL database and its transactions.

SQLite (WAL) by default, PostgreSQL in production.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import (
    Connection,
    Delete,
    Engine,
    Select,
    Update,
    bindparam,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.orm import Session

from retention import clock
from retention.db.tables import Base, BusinessClock
from retention.errors import BadInput
from retention.paths import create_private_folder
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)
Row = TypeVar("Row", bound=Base)

_OPEN: WeakValueDictionary[str, Engine] = WeakValueDictionary()  # by URL

# Built once: the query is frequent, and building takes longer than running.
_OFFSET = select(BusinessClock.offset_seconds).where(BusinessClock.team_id == bindparam("team_id"))

_THREADS = 32  # SQLite: connections that stay open, for the bot's threads
SYNCHRONOUS = "FULL"  # SQLite: a committed job survives a power cut
# Errors go to the log. Their parameters would be codes, ids and addresses.
_HIDE_PARAMETERS: dict[str, Any] = {"hide_parameters": True}
_TRUNCATE_MS, _TRUNCATE_ATTEMPTS = 200, 20
_PACKAGES = {"MySQLdb": "mysqlclient"}  # of driver modules with another name


class Transaction(Session):
    """An open session with the installation's settings.

    What changes or reads state takes it first. The code that opened it commits it.
    """

    def __init__(self, database: "Database", engine: Engine) -> None:
        super().__init__(engine, expire_on_commit=False)
        self._database = database

    @property
    def settings(self) -> Settings:
        """The installation's settings."""
        return self._database.settings

    def own(self, table: type[Row], **values: Any) -> Select[Row]:
        """Select the team's rows of a table with these values."""
        return select(table).filter_by(team_id=self.settings.team_id, **values)

    def change(self, statement: Update | Delete) -> int:
        """Run an UPDATE or DELETE past the loaded objects, and return the number of its rows."""
        result = self.execute(statement, execution_options={"synchronize_session": False})
        return int(result.rowcount)  # type: ignore[attr-defined]


class Database:
    """An engine and its transactions.

    Notes
    -----
    SQLite uses ``BEGIN IMMEDIATE``, which makes writers queue instead of failing half-way. It runs
    in WAL mode with a busy time-out of 10 s and ``synchronous=FULL``: a committed job survives a
    power cut.
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        self._settings = settings
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        with driver_errors(url):
            self.engine = _sqlite(url) if self.is_sqlite else _postgres(url)
        if settings:
            _OPEN.setdefault(url, self.engine)

    @classmethod
    def of(cls, settings: Settings) -> "Database":
        """Open the installation's database.

        Its clock offset becomes the source of business time.
        """
        database = cls(settings.database_url.get_secret_value(), settings)
        clock.configure(fixed=settings.now, offset=lambda: database.clock_offset(settings.team_id))
        _OPEN[settings.database_url.get_secret_value()] = database.engine
        return database

    @property
    def settings(self) -> Settings:
        """The installation's settings, which a transaction carries."""
        assert self._settings is not None  # only the schema can be used without settings
        return self._settings

    def using(self, settings: Settings) -> "Database":
        """Return this database with other settings, such as those of another workspace."""
        other = copy(self)
        other._settings = settings
        return other

    @cached_property
    def _reading(self) -> Engine:
        return self.engine.execution_options(readonly=True)

    @cached_property
    def _reading_once(self) -> Engine:
        return self.engine.execution_options(readonly=True, alone=True)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction. It commits at the end and rolls back on an exception."""
        with Transaction(self, self.engine) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Open a read-only session."""
        with Transaction(self, self._reading) as session:
            yield session

    @contextmanager
    def reading_once(self) -> Iterator[Transaction]:
        """Open a read-only session for one statement, which needs no snapshot.

        On SQLite it saves BEGIN and ROLLBACK. Each gives up the interpreter's lock, which a
        thread beside 30 others waits for longer than for the row.
        """
        with Transaction(self, self._reading_once) as session:
            yield session

    def clock_offset(self, team_id: str) -> timedelta:
        """Return business time minus real time."""
        with self._reading_once.connect() as connection:
            seconds = connection.scalar(_OFFSET, {"team_id": team_id})
        return timedelta(seconds=seconds or 0)

    def truncate_log(self) -> None:
        """Empty SQLite's write-ahead log, whose old pages have what was deleted since.

        It needs a moment without readers. If there is none, the log stays until the next call.
        """
        if not self.is_sqlite:
            return
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            # Others wait for the lock that it holds, so it must not hold it for long.
            cursor.execute(f"PRAGMA busy_timeout={_TRUNCATE_MS}")
            for _ in range(_TRUNCATE_ATTEMPTS):
                if not cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return
                time.sleep(_TRUNCATE_MS / 1000)
            log.info("the write-ahead log stays for now, because it is in use")
        except sqlite3.Error as error:
            log.warning("the write-ahead log stays for now: %s", type(error).__name__)
        finally:
            connection.invalidate()  # with its busy time-out
            connection.close()

    def dispose(self) -> None:
        """Drop all connections after a fork or exit."""
        self.engine.dispose(close=False)


@contextmanager
def reading_connection(settings: Settings) -> Iterator[Connection | None]:
    """Open a read-only connection; None where this process has no open database of the shop."""
    engine = _OPEN.get(settings.database_url.get_secret_value())
    if engine is None:
        yield None
        return
    with engine.execution_options(readonly=True).connect() as connection:
        yield connection


def advisory_lock(session: Session, name: str) -> None:
    """Lock a name until the transaction ends.

    Use it for decisions that depend on uncommitted rows of other transactions. SQLite needs no
    lock: its writers wait for each other.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def is_postgres(settings: Settings) -> bool:
    """Return whether the installation's database is PostgreSQL."""
    return settings.database_url.get_secret_value().startswith("postgres")


@contextmanager
def session_lock(settings: Settings, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Lock a name on PostgreSQL until the block or the process ends; yield whether we hold it.

    The lock has a connection of its own: it ends with it.
    """
    engine = _postgres(settings.database_url.get_secret_value())
    lock = func.pg_advisory_lock if wait else func.pg_try_advisory_lock
    statement = select(lock(func.hashtextextended(name, 0)))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection.scalar(statement) is not False
    finally:
        engine.dispose()


@contextmanager
def driver_errors(url: str) -> Iterator[None]:
    """Explain a missing driver of an engine."""
    try:
        yield
    except ModuleNotFoundError as error:
        parsed, module = make_url(url), str(error.name)
        raise BadInput(
            gettext(
                "{scheme}:// needs the Python driver {module}, which is not installed "
                "here; install it (pip install {package}), or name in the URL one that is: "
                "{backend}+DRIVER://…"
            ).format(
                scheme=parsed.drivername,
                module=module,
                package=_PACKAGES.get(module, module),
                backend=parsed.get_backend_name(),
            )
        ) from None
    except NoSuchModuleError:
        text = gettext(
            "There is no database {scheme}:// that SQLAlchemy knows; write the URL "
            "like postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE, or install "
            "the package that brings it."
        )
        raise BadInput(text.format(scheme=make_url(url).drivername)) from None


def _postgres(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    # Detect broken connections. Else a commit waits a quarter of an hour and blocks all commands of
    # the bot. The URL can override these.
    keepalives = {
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    # A prepared statement keeps the plan from the time its tables were small. Looking up 500 codes
    # in 45,000 rows then takes 1.05 s (sequential scan) instead of 6 ms.
    unprepared = {"connect_timeout": 2, "prepare_threshold": None}
    arguments = {
        name: value for name, value in (unprepared | keepalives).items() if name not in parsed.query
    }
    return create_engine(
        parsed,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=10,
        connect_args=arguments,
        **_HIDE_PARAMETERS,
    )


def _sqlite(url: str) -> Engine:
    path = make_url(url).database
    if path and not path.startswith("file:"):  # an SQLite URI, such as a read-only one
        create_private_folder(Path(path).parent)
    engine = create_engine(
        url,
        connect_args={"timeout": 10, "check_same_thread": False},
        pool_size=_THREADS,
        **_HIDE_PARAMETERS,
    )

    @event.listens_for(engine, "connect")
    def _connect(connection, _record) -> None:
        connection.isolation_level = None  # _begin emits BEGIN
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={SYNCHRONOUS}",
            "busy_timeout=10000",
            "foreign_keys=ON",
            "secure_delete=ON",  # zeros instead of the names and addresses that were deleted
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection) -> None:
        options = connection.get_execution_options()
        if not options.get("alone"):
            connection.exec_driver_sql("BEGIN" if options.get("readonly") else "BEGIN IMMEDIATE")

    return engine
