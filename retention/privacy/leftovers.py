"""Erase a customer from files of the home and from texts in SQL that no other step knows."""

import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import JSON, String, Table, Text, select, update

from retention import clock, logs
from retention.db import Base, Transaction
from retention.privacy import unpacking
from retention.privacy.redaction import CustomerNames
from retention.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Update

COPIES = ("uploads", "sources", "read", "scratch")  # folders of the home with copies of data
IN_USE = timedelta(hours=1)  # a copy that was written since may be read by a running import
# Redacted by other steps, or append-only with hashes of customers alone.
_KNOWN = {"jobs", "outbox", "files", "audit", "erasures", "directory"}
_MAX_BYTES = 256 * 2**20  # of a file that is searched; a larger copy is deleted


def erase_from_files(settings: Settings, names: CustomerNames) -> dict[str, int]:
    """Delete copies of data that name the customer, and mask the names in logs.

    Returns: the number of files by kind.
    """
    changed = {"copies": 0, "logs": 0}
    before = (clock.wall() - IN_USE).timestamp()
    for folder in COPIES:
        for path in _files(settings.home / folder):
            if path.stat().st_mtime < before and _names(path, names):
                path.unlink()
                changed["copies"] += 1
    for path in (settings.home / logs.TRACES, *_files(settings.home / "logs")):
        if path.is_file():
            changed["logs"] += _mask(path, names)
    return changed


def redacted_texts(session: Transaction, names: CustomerNames) -> "list[Update]":
    """Build the updates that redact texts and JSON of all other tables that name the customer.

    Examples are notes on others, reports of imports and errors of sends.
    """
    updates = []
    for table in Base.metadata.sorted_tables:
        if table.name in _KNOWN or not table.primary_key.columns:
            continue
        for name in _texts(table):
            column, keys = table.c[name], list(table.primary_key.columns)
            rows = session.execute(select(column, *keys).where(names.may_mention(column))).all()
            for value, *key in rows:
                cleaned = names.masked(value) if isinstance(value, str) else names.redact(value)
                if cleaned != value:
                    where = (each == own for each, own in zip(keys, key, strict=True))
                    updates.append(update(table).where(*where).values({name: cleaned}))
    return updates


def _texts(table: Table) -> Iterator[str]:
    """Yield the columns of a table that hold free text."""
    unique = {column.name for index in table.indexes if index.unique for column in index.columns}
    for column in table.columns:
        kind = getattr(column.type, "impl_instance", column.type)
        is_free = isinstance(kind, Text | JSON) or (isinstance(kind, String) and kind.length == 255)
        is_key = column.primary_key or column.foreign_keys or column.unique or column.name in unique
        if is_free and not is_key and column.name != "customer_id":
            yield column.name


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _names(path: Path, names: CustomerNames) -> bool:
    """Whether a file names the customer. A file that cannot be searched counts as one."""
    if path.stat().st_size > _MAX_BYTES:
        return True
    try:
        return any(names.is_listed_in(text) or names.masked(text) != text for text in _read(path))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, unpacking.TooLargeUnpacked):
        return True


def _read(path: Path) -> Iterator[str]:
    """Yield the texts of a file: of a table's cells, of each part of an archive, or itself."""
    content = path.read_bytes()
    if content.startswith(b"PAR1"):
        import pyarrow.parquet as pq

        unpacking.check_file(path)
        yield pq.read_table(path).to_pandas().to_csv(index=False)
    elif zipfile.is_zipfile(path):  # a workbook, too
        with unpacking.open_zip(path) as archive:
            for part in archive.namelist():
                yield archive.read(part).decode("utf-8", "replace")
    elif content.startswith(b"\x1f\x8b"):
        with unpacking.unpacked(path, "gzip") as pieces:
            yield b"".join(pieces).decode("utf-8", "replace")
    else:
        yield content.decode("utf-8", "replace")


def _mask(path: Path, names: CustomerNames) -> bool:
    """Overwrite names in a file with stars of the same length: a process may be writing to it."""
    content = path.read_bytes()
    text = content.decode("utf-8", "surrogateescape")
    masked = names.masked(text, "*").encode("utf-8", "surrogateescape")
    if masked == content or len(masked) != len(content):
        return False
    with path.open("r+b") as file:
        file.write(masked)
    return True
