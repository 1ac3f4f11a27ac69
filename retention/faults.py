"""Recognise faults of the disk, the database and the lake.

The disk may be full or read-only, the database or the lake damaged, or the database busy.

The decision uses error codes (``errno``, SQLite's result codes, SQLSTATE) and the state of the disk
and of the lake's files. It never depends on the wording of an error.
"""

import errno
import json
import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from retention.settings import LAKE_CACHE, Settings
from retention.text import gettext

MIN_FREE_BYTES = 1_000_000  # with less, SQLite may fail to commit
_CHECK_SECONDS = 10.0  # for reading the lake's files after a suspicious error


class Code(StrEnum):
    """Codes of machine faults."""

    DISK_FULL = "disk_full"
    READ_ONLY = "read_only"
    DISK_ERROR = "disk_error"
    DATABASE_DAMAGED = "database_damaged"
    DATABASE_BUSY = "database_busy"
    DATABASE_STARTING = "database_starting"
    LAKE_DAMAGED = "lake_damaged"


_FULL = {errno.ENOSPC, errno.EDQUOT}
# SQLite's primary result codes are the lowest byte of the extended ones.
_SQLITE = {
    sqlite3.SQLITE_FULL: Code.DISK_FULL,
    sqlite3.SQLITE_READONLY: Code.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: Code.DATABASE_DAMAGED,
    sqlite3.SQLITE_NOTADB: Code.DATABASE_DAMAGED,
    sqlite3.SQLITE_IOERR: Code.DISK_ERROR,
    sqlite3.SQLITE_BUSY: Code.DATABASE_BUSY,
    sqlite3.SQLITE_LOCKED: Code.DATABASE_BUSY,
}
_SQLSTATE = {
    "53100": Code.DISK_FULL,
    "57P03": Code.DATABASE_STARTING,
    "XX001": Code.DATABASE_DAMAGED,
    "XX002": Code.DATABASE_DAMAGED,
    "25006": Code.READ_ONLY,
    "58030": Code.DISK_ERROR,
    "55P03": Code.DATABASE_BUSY,
}
# Errors that these libraries raise, among other reasons, for a file that cannot be read.
_DUCKDB_ERRORS = {
    "Error",
    "IOException",
    "InvalidInputException",
    "SerializationException",
    "InternalException",
    "OutOfMemoryException",
    "HTTPException",
}
_DELTA_ERRORS = {"DeltaError", "DeltaProtocolError", "TableNotFoundError"}
_FILE_ERRORS = {
    "duckdb": _DUCKDB_ERRORS,
    "_duckdb": _DUCKDB_ERRORS,
    "_internal": {*_DELTA_ERRORS, "SchemaMismatchError", "PanicException"},
    "deltalake": _DELTA_ERRORS,
    "pyo3_runtime": {"PanicException"},
    "pyarrow": {"ArrowInvalid", "ArrowException", "ArrowIOError"},
}
# An errno as DuckDB (JSON), Rust and Arrow write it.
_ERRNO = re.compile(r'"errno":"(\d+)"|\(os error (\d+)\)|\[errno (\d+)\]', re.IGNORECASE)


_ERRNO_CODES = {
    **dict.fromkeys(_FULL, Code.DISK_FULL),
    errno.EROFS: Code.READ_ONLY,
    errno.EIO: Code.DISK_ERROR,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A machine fault with two sentences for the user. ``path`` is the folder or file."""

    code: Code
    path: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}"


def diagnose(error: BaseException, settings: Settings) -> Fault | None:
    """Return the machine fault behind an error.

    `error`: its causes, contexts and SQLAlchemy's ``orig`` are checked, too.
    Returns: none for any other error. Never raises: a check that fails returns nothing.
    """
    for each in _chain(error):
        with suppress(Exception):
            if fault := _fault_of_code(each, settings) or _fault_of_lake(each, settings):
                return fault
    return None


def fault(code: Code, path: str | Path) -> Fault:
    """Return a fault with its sentences."""
    problem, remedy = (text.format(path=path) for text in _sentences(code))
    sentence = gettext("{problem}, so nothing was saved.").format(problem=problem)
    return Fault(code, str(path), sentence, remedy)


def _sentences(code: Code) -> tuple[str, str]:
    """Return the problem and its remedy, with a field for the path."""
    sentences = {
        Code.DISK_FULL: (
            gettext("The disk of the server is full"),
            gettext("The operator must free space in {path}; then try again."),
        ),
        Code.READ_ONLY: (
            gettext("The disk of the server is read-only"),
            gettext("The operator must make {path} writable; then try again."),
        ),
        Code.DISK_ERROR: (
            gettext("The disk of the server reports errors"),
            gettext("The operator must check the disk that holds {path}."),
        ),
        Code.DATABASE_DAMAGED: (
            gettext("The database is damaged ({path})"),
            gettext("The operator must restore a backup: `retention restore FILE`."),
        ),
        Code.DATABASE_BUSY: (
            gettext("The database is busy"),
            gettext("Please try again in a minute."),
        ),
        Code.DATABASE_STARTING: (
            gettext("The database is starting or stopping"),
            gettext("Please try again in a minute."),
        ),
        Code.LAKE_DAMAGED: (
            gettext("The customer data is damaged: {path} is missing or cannot be read"),
            gettext("The operator must restore a backup: `retention restore FILE`."),
        ),
    }
    return sentences[code]


def full_disk(folder: Path, least: int = MIN_FREE_BYTES) -> bool:
    """Return whether a folder's disk is nearly full. Less space is free than the database needs."""
    existing = next((each for each in (folder, *folder.parents) if each.exists()), None)
    return existing is not None and shutil.disk_usage(existing).free < least


def database_folder(settings: Settings) -> Path | None:
    """Return the folder of the SQLite database. None with another database or one in memory."""
    url = make_url(settings.database_url.get_secret_value())
    return (
        Path(url.database).parent if url.get_backend_name() == "sqlite" and url.database else None
    )


def damaged_file(lake: Path, *, deep: bool = False) -> Path | None:
    """Return the first unreadable file of a lake.

    A file may also be missing. None if all can be read.

    `deep`: read every value of the live files, for at most ten seconds. Otherwise only the log, and
    the size and the magic bytes of each file.
    """
    until = time.monotonic() + _CHECK_SECONDS
    for log in sorted(lake.glob("*/_delta_log")):
        if bad := _damaged_commit(log):
            return bad
        for path, size in _live_files(log):
            if not _is_parquet(path, size):
                return path
            if deep and time.monotonic() < until and not _is_readable(path):
                return path
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return the error and all its causes, each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [getattr(each, "orig", None), each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _fault_of_code(error: BaseException, settings: Settings) -> Fault | None:
    if isinstance(error, sqlite3.Error):
        return _fault_of_sqlite(error, settings)
    if state := getattr(error, "sqlstate", None):
        known = _SQLSTATE.get(str(state))
        return fault(known, "the database server") if known else None
    number = error.errno if isinstance(error, OSError) else None
    code = _ERRNO_CODES.get(number or 0)
    return fault(code, _place(error, settings)) if code else None


def _fault_of_sqlite(error: sqlite3.Error, settings: Settings) -> Fault | None:
    code = getattr(error, "sqlite_errorcode", None)
    folder = database_folder(settings) or settings.home
    if code is None:
        return None
    primary = code & 0xFF
    # Without room for its write-ahead log or its shared memory, SQLite reports an I/O error, or
    # that it cannot open.
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and full_disk(folder):
        return fault(Code.DISK_FULL, folder)
    known = _SQLITE.get(primary)
    if known is None:
        return None
    database = make_url(settings.database_url.get_secret_value()).database
    return fault(known, (database or folder) if known == Code.DATABASE_DAMAGED else folder)


def _fault_of_lake(error: BaseException, settings: Settings) -> Fault | None:
    """Return faults of the lake. Full disks that a library reports only as text are found, too."""
    lake = _lake(settings)
    module = type(error).__module__.partition(".")[0]
    if type(error).__name__ in _FILE_ERRORS.get(module, ()):
        numbers = {int(next(filter(None, groups))) for groups in _ERRNO.findall(str(error))}
        is_full = bool(numbers & _FULL) or os.strerror(errno.ENOSPC) in str(error)
        if is_full or (not numbers and _full_folder(settings)):
            return fault(Code.DISK_FULL, _place(error, settings))
        if errno.EROFS in numbers:
            return fault(Code.READ_ONLY, _place(error, settings))
        if bad := damaged_file(lake) or damaged_file(lake, deep=True):
            return fault(Code.LAKE_DAMAGED, bad)
    filename = getattr(error, "filename", None) if isinstance(error, OSError) else None
    is_of_lake = isinstance(filename, str) and Path(filename).is_relative_to(lake)
    bad = damaged_file(lake) if is_of_lake else None
    return fault(Code.LAKE_DAMAGED, bad) if bad else None


def _lake(settings: Settings) -> Path:
    if settings.lake_store:
        return settings.home / LAKE_CACHE
    return Path(settings.lake_url.partition("://")[2]).expanduser().absolute()


def _full_folder(settings: Settings) -> Path | None:
    database, home = database_folder(settings), settings.home
    others = _lake(settings), home / "scratch", Path(settings.models_url), home
    folders = (*([database] if database else ()), *others)
    return next((folder for folder in folders if full_disk(folder)), None)


def _place(error: BaseException, settings: Settings) -> Path:
    """Return the folder to check.

    It is the folder of the file, else one on a full disk, else the home.
    """
    filename = getattr(error, "filename", None)
    if isinstance(filename, str) and Path(filename).is_absolute():
        return Path(filename).parent
    return _full_folder(settings) or settings.home


def _damaged_commit(log: Path) -> Path | None:
    """Return the first commit that is not JSON.

    If files exist without a commit, the log itself is returned.
    """
    commits = sorted(log.glob("*.json"))
    if not commits and any(log.parent.rglob("*.parquet")):
        return log
    for commit in commits:
        try:
            lines = [
                json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines() if line
            ]
        except (OSError, ValueError):
            return commit
        if not lines:
            return commit
    return next(
        (path for path in log.glob("*.checkpoint.parquet") if not _is_parquet(path, None)), None
    )


def _live_files(log: Path) -> list[tuple[Path, int]]:
    """Return files of the newest version with sizes."""
    if "deltalake" not in sys.modules:  # without it, the process did not read the lake
        return []
    import pyarrow as pa
    from deltalake import DeltaTable

    try:
        actions: Any = pa.table(DeltaTable(log.parent).get_add_actions(flatten=True))
    except Exception:
        return [(log, 0)]  # an unreadable log is no Parquet file
    sizes = actions["size_bytes"].to_pylist()
    return [
        (log.parent / path, size)
        for path, size in zip(actions["path"].to_pylist(), sizes, strict=True)
    ]


def _is_parquet(path: Path, size: int | None) -> bool:
    """Return whether a file has Parquet's magic bytes. Its size must match, too."""
    try:
        with path.open("rb") as file:
            begins = file.read(4)
            file.seek(-4, os.SEEK_END)
            is_whole = size is None or file.tell() + 4 == size
            return is_whole and begins == b"PAR1" == file.read(4)
    except OSError:
        return False


def _is_readable(path: Path) -> bool:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            file.read_row_group(group)
    except Exception:
        return False
    return True
