"""Keep the lake's tables in an object store, and copies of their files on this host.

Data files never change, so a copy needs no comparison with its object. A copy lives at most as long
as its object: this is how compaction and erasure reach every host.
"""

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileInfo, FileSelector, FileType, LocalFileSystem, PyFileSystem, copy_files

from retention import clock
from retention.db.engine import session_lock
from retention.errors import BadInput, Conflict
from retention.lake.schema import Table
from retention.paths import create_private_folder
from retention.settings import LAKE_CACHE, Settings
from retention.text import gettext

# A store that is away must not hold a worker for delta-rs's three minutes.
_OPTIONS = {"max_retries": "5", "retry_timeout": "30s"}
_S3 = {"conditional_put": "etag"}  # the other stores have it anyway
_TRANSFERS = 8  # at a time
_LOOK_AGAIN = 60.0  # seconds between two comparisons of copies and objects
_STILL_EMPTY = 1.0  # seconds for which readers take a table as empty that another host may create
_NO_BUCKET = re.compile("404 Not Found|NoSuchBucket")
_LOCAL = LocalFileSystem()
_SETTLED = timedelta(hours=1)  # more than the clocks of store and host differ
_LEFT_BEHIND = timedelta(days=1)  # the age of a killed process's unfinished files


class ObjectStore:
    """The tables below a URL, and this host's cache of their files."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.lake_store
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:12]
        self.cache = create_private_folder(settings.home / LAKE_CACHE / digest)
        self.staged = self.cache / ".staged"
        self.options = _options(self.url)
        self._settings = settings
        self._objects = PyFileSystem(DeltaStorageHandler(self.url, self.options))
        self._newest: dict[str, DeltaTable] = {}
        self._opened: dict[str, DeltaTable] = {}
        self._locked_at: dict[str, int] = {}  # the version that this process may commit onto
        self._read: dict[str, set[str]] = {}  # files that a view of this process may read again
        self._times: dict[tuple[str, str], float] = {}

    def __str__(self) -> str:
        return self.url

    def uri(self, table: Table) -> str:
        """Return a table's address, to write to it."""
        self._times.pop(("look", table.name), None)
        return f"{self.url}/{table.name}"

    # ------------------------------------------------------------ versions

    def open_table(self, table: Table) -> DeltaTable | None:
        """Open the newest version; none if the table was never written.

        Callers get the same object until there is a newer version: opening reads the whole log.
        """
        if (newest := self._refreshed(table)) is None:
            return None
        delta = self._opened.get(table.name)
        if delta is None or delta.version() != newest.version():
            with self._explained():
                delta = DeltaTable(f"{self.url}/{table.name}", storage_options=self.options)
            delta.store = self  # type: ignore[attr-defined]
            self._opened[table.name] = delta
        if self._is_due("compare", table.name, _LOOK_AGAIN):
            self._prune(table.name)
        return delta

    def newest_commit(self, table: Table) -> str:
        """Return what changes with each commit; empty if the table was never written."""
        is_known = table.name in self._newest
        if not is_known and not self._is_due("look", table.name, _STILL_EMPTY):
            return ""
        newest = self._refreshed(table)
        return "" if newest is None else f"{newest.version():020}"

    def _refreshed(self, table: Table) -> DeltaTable | None:
        """Return the newest version, of an object that no caller gets: it changes here."""
        with self._explained():
            if known := self._newest.get(table.name):
                known.update_incremental()
                return known
            uri = f"{self.url}/{table.name}"
            if DeltaTable.is_deltatable(uri, self.options):
                self._newest[table.name] = DeltaTable(uri, storage_options=self.options)
        return self._newest.get(table.name)

    @contextmanager
    def locked(self, table: Table) -> Iterator[None]:
        """Hold the table's writer lock among all hosts. It ends with the process."""
        with session_lock(self._settings, f"lake {self.uri(table)}"):
            # Whoever holds the lock is the only one to write here.
            shutil.rmtree(self.staged / table.name, ignore_errors=True)
            self._locked_at[table.name] = _version(self.open_table(table))
            try:
                yield
            finally:
                del self._locked_at[table.name]

    def publish(self, table: Table, files: Sequence[Path], commit: Callable[..., None]) -> None:
        """Upload staged files, commit them, and keep them as copies.

        The commit fails if the table has another version than under the lock: who lost the lock
        with its connection may not know what another host stored since.
        """
        staged = self.staged / table.name
        names = {path: path.relative_to(staged.resolve()).as_posix() for path in files}
        self._transfer(self._upload, [(path, f"{table.name}/{names[path]}") for path in files])
        delta = self.open_table(table)
        try:
            if _version(delta) != self._locked_at[table.name]:
                raise CommitFailedError
            commit(delta, commit_properties=CommitProperties(max_commit_retries=0))
        except CommitFailedError:
            text = gettext(
                "Another host wrote to the table {table} meanwhile, so nothing was stored; try "
                "again."
            )
            raise Conflict(text.format(table=table.name)) from None
        self._locked_at[table.name] = _version(self.open_table(table))
        for path, name in names.items():
            copy = self.cache / table.name / name
            create_private_folder(copy.parent)
            path.replace(copy)
        self._evict()

    # ------------------------------------------------------------ copies

    def copies(self, delta: DeltaTable, wanted: Collection[str] | None = None) -> list[str]:
        """Return this host's copies of a version's files, and fetch those that are missing.

        `wanted`: paths in the table; by default all of the version.
        """
        sizes = file_sizes(delta)
        if wanted is not None:
            sizes = {path: sizes[path] for path in wanted}
        name = delta.table_uri.rstrip("/").rpartition("/")[2]
        folder = self.cache / name
        missing = [path for path, size in sizes.items() if not _is_copied(folder / path, size)]
        if missing:
            self._transfer(self._download, [(f"{name}/{path}", sizes[path]) for path in missing])
            self._evict()
        self._read.setdefault(name, set()).update(sizes)
        return sorted(str(folder / path) for path in sizes)

    def keep(self, table: Table, delta: DeltaTable) -> None:
        """Keep the copies in use that views of this process read."""
        if self._is_due("keep", table.name, self._settings.longest_job.total_seconds() / 10):
            self.copies(delta, self._read.get(table.name, set()) & file_sizes(delta).keys())

    def prune(self) -> None:
        """Delete the copies whose object is gone, of all tables."""
        for folder in self.cache.iterdir():
            if folder != self.staged:
                self._prune(folder.name)

    def _prune(self, table: str) -> None:
        """Delete a table's copies without object, and what killed processes left behind."""
        folder = self.cache / table
        # The copies first: an import that ends now has its objects before its copies.
        copies = [path for path in folder.rglob("*") if path.is_file()]
        objects = {path for path, _ in self._list(table)} if copies else set()
        for path in copies:
            is_unfinished = path.name.startswith(".")
            if is_unfinished and not _is_older(path, _LEFT_BEHIND):
                continue
            if is_unfinished or path.relative_to(self.cache).as_posix() not in objects:
                path.unlink(missing_ok=True)
        staged = self.staged / table
        for path in [path for path in staged.rglob("*") if path.is_file()]:
            if _is_older(path, _LEFT_BEHIND):
                path.unlink(missing_ok=True)

    def delete_old_files(self, table: Table) -> int:
        """Delete the objects that the newest version does not have; return their number.

        The caller holds the table's lock, so no import is between its upload and its commit.
        """
        live = file_sizes(self.open_table(table))
        log = f"{table.name}/_delta_log/"
        old = [
            path
            for path, _ in self._list(table.name)
            if not path.startswith(log) and path.partition("/")[2] not in live
        ]
        self._transfer(self._objects.delete_file, [(path,) for path in old])
        self._prune(table.name)
        return len(old)

    @contextmanager
    def edited_log(self, table: Table) -> Iterator[Path]:
        """Yield a root with a copy of the table's log; upload what the block replaced.

        The caller holds the table's lock.
        """
        objects, parent = self._list(f"{table.name}/_delta_log"), self.staged / table.name
        with TemporaryDirectory(dir=create_private_folder(parent)) as folder:
            root, inodes = Path(folder), {}
            for name, _ in objects:
                create_private_folder((root / name).parent)
                copy_files(name, str(root / name), self._objects, _LOCAL)
                inodes[name] = (root / name).stat().st_ino
            yield root
            for name, inode in inodes.items():
                if (root / name).stat().st_ino != inode:
                    self._upload(root / name, name)

    # ------------------------------------------------------------ transfers

    def _list(self, folder: str) -> list[tuple[str, int]]:
        with self._explained():
            found = self._objects.get_file_info(
                FileSelector(folder, recursive=True, allow_not_found=True)
            )
        return [(each.path, each.size) for each in found if each.type == FileType.File]

    def _upload(self, path: Path, name: str) -> None:
        copy_files(str(path), name, _LOCAL, self._objects)

    def _download(self, name: str, size: int) -> None:
        path = self.cache / name
        part = create_private_folder(path.parent) / f".{path.name}.{uuid.uuid4().hex}"
        try:
            copy_files(name, str(part), self._objects, _LOCAL)
            if (received := part.stat().st_size) != size:
                raise OSError(
                    f"{name} has {received} bytes in the store, and its table says {size}"
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _transfer(self, action: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> None:
        with ThreadPoolExecutor(_TRANSFERS) as threads:
            for done in [threads.submit(action, *item) for item in items]:
                done.result()

    def _evict(self) -> None:
        """Delete the copies that were not used for the longest time, down to the limit."""
        copies = []
        for path in self.cache.rglob("*"):
            with suppress(FileNotFoundError):  # another process is faster
                if path.is_file() and self.staged not in path.parents:
                    copies.append((path.stat().st_mtime, path.stat().st_size, path))
        excess = sum(size for _, size, _ in copies) - self._settings.lake_cache_gb * 2**30
        for _, size, path in sorted(copies):
            if excess <= 0 or not _is_older(path, self._settings.longest_job):
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _is_due(self, what: str, table: str, seconds: float) -> bool:
        """Return whether so many seconds have passed since it was due."""
        now = time.monotonic()
        if now - self._times.get((what, table), -seconds) < seconds:
            return False
        self._times[what, table] = now
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Explain a store that does not answer. The address has no secrets, the cause may."""
        try:
            yield
        except OSError as error:
            if _NO_BUCKET.search(str(error)):
                text = gettext(
                    "RETENTION_LAKE_URL names {url}, and there is no such bucket; create it, or "
                    "correct the name."
                )
            else:
                text = gettext(
                    "The object store of {url} cannot be read; check its address and the "
                    "credentials in the environment (AWS_ACCESS_KEY_ID, …), as in "
                    "docs/operator/object_store.md."
                )
            raise BadInput(text.format(url=self.url)) from error


class SharedFolder:
    """Folders of the home whose files all hosts share through the lake's store."""

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self._objects = PyFileSystem(
            DeltaStorageHandler(settings.lake_store, _options(settings.lake_store))
        )

    def pull(self, folder: Path) -> None:
        """Make a folder equal to the store's."""
        # Files first: another process uploads a file before it appears here.
        here = {path for path in folder.rglob("*") if path.is_file()}
        name = self._name(folder)
        found = self._objects.get_file_info(
            FileSelector(name, recursive=True, allow_not_found=True)
        )
        there = {self._home / each.path: each for each in found if each.type == FileType.File}
        for path in here - there.keys():
            if path.suffix == ".parquet":  # others are not finished
                path.unlink(missing_ok=True)
        for path, each in there.items():
            if path not in here or not _is_same(path, each):
                part = create_private_folder(path.parent) / f".{path.name}.{uuid.uuid4().hex}"
                copy_files(each.path, str(part), self._objects, _LOCAL)
                part.replace(path)
            os.utime(path, ns=(each.mtime_ns, each.mtime_ns))  # notes its use, too

    def read(self, name: str) -> bytes:
        """Return an object of the store. Raises `FileNotFoundError`."""
        with self._objects.open_input_stream(name) as stream:
            return bytes(stream.read())

    def write(self, name: str, content: bytes) -> None:
        """Replace an object of the store at once."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "object"
            file.write_bytes(content)
            copy_files(str(file), name, _LOCAL, self._objects)

    def push(self, new: Path, path: Path) -> None:
        """Upload a file under the name of another one."""
        copy_files(str(new), self._name(path), _LOCAL, self._objects)

    def delete(self, path: Path) -> None:
        """Delete a file's object."""
        with suppress(FileNotFoundError):
            self._objects.delete_file(self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._home).as_posix()


def _options(url: str) -> dict[str, str]:
    return _OPTIONS | (_S3 if url.startswith("s3://") else {})


def file_sizes(delta: DeltaTable | None) -> dict[str, int]:
    """Return the live files of a version with their sizes in bytes."""
    if delta is None:
        return {}
    actions = delta.get_add_actions(flatten=True)
    paths, sizes = (actions.column(name).to_pylist() for name in ("path", "size_bytes"))
    return dict(zip(paths, sizes, strict=True))


def _version(delta: DeltaTable | None) -> int:
    return -1 if delta is None else delta.version()


def _is_copied(path: Path, size: int) -> bool:
    """Return whether a file is in the cache, and note its use."""
    try:
        os.utime(path)
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _is_same(path: Path, stored: FileInfo) -> bool:
    """Return whether a copy surely is the object of now. S3 tells its time in seconds."""
    status = path.stat()
    is_settled = stored.mtime_ns < (clock.wall() - _SETTLED).timestamp() * 1e9
    return is_settled and (status.st_mtime_ns, status.st_size) == (stored.mtime_ns, stored.size)


def _is_older(path: Path, age: timedelta) -> bool:
    try:
        return path.stat().st_mtime < (clock.wall() - age).timestamp()
    except FileNotFoundError:
        return False
