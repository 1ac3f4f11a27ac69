"""Keep data that several tests share read-only, and name the test that changes it.

Three guards protect a folder:

- An audit hook refuses Python's own writes (files, folders, SQLite connections that may write).
- Wrappers around `retention.lake.storage.delta_store` refuse writes by delta-rs and DuckDB, which
  Python does not see.
- A fingerprint of the folder, compared after every test, finds writes of other processes and
  libraries.

File modes protect as well, but not from root, as whom CI runs.
"""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from retention import clock
from retention.db import Database
from retention.lake import Lake
from retention.lake.storage import delta_store
from retention.settings import Settings

STORE_WRITERS = (
    *("append", "clear", "commit_parts", "compact", "delete", "locked", "remove"),
    *("replace_partition", "upsert", "write_parts"),
)
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events that change a folder, with the positions of their path arguments.
WRITE_EVENTS = {
    "os.chmod": (0,),
    "os.link": (1,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.utime": (0,),
    "shutil.rmtree": (0,),
}

Shop = TypeVar("Shop", bound=Any)  # a dataclass with settings, database and lake
Fingerprint = dict[str, tuple[int, int, int]]  # path to size, time of change and mode
_protected: dict[str, Fingerprint] = {}
_installed = False


class SharedDataWrite(AssertionError):
    """A test writes to data that other tests read."""


@contextmanager
def protected(folder: Path) -> Iterator[None]:
    """Refuse writes below a folder until the block ends."""
    _install()
    root = str(folder.absolute())
    _set_writable(folder, writable=False)
    _protected[root] = _fingerprint(root)
    try:
        yield
    finally:
        del _protected[root]
        _set_writable(folder, writable=True)


def verify() -> None:
    """Fail where a protected folder differs from what it was; called after every test.

    Raises
    ------
    SharedDataWrite
        The message lists the changed paths. The changed state is the reference from then on, so
        that only the test that made the change fails.
    """
    for root, before in _protected.items():
        after = _fingerprint(root)
        if after == before:
            continue
        _protected[root] = after
        changed = sorted(
            path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
        )
        raise SharedDataWrite(
            f"{_advice(root)} Changed: {', '.join(changed[:5])} ({len(changed)} in all)."
        )


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder that may be protected; the copy is writable."""
    shutil.copytree(source, target)
    _set_writable(target, writable=True)


@contextmanager
def shared(shop: Shop) -> Iterator[Shop]:
    """Protect a shop's home and give the shop with its database and its lake opened for reading.

    The settings name the database as read-only, so that code which opens it by them cannot write
    either. DuckDB's temporary files go beside the home. Business time is reset: it may come from
    the database that closes.
    """
    clock.configure()
    home = shop.settings.home
    shop.database.engine.dispose()  # the last connection writes SQLite's log into the file
    url = f"sqlite:///file:{home}/state.db?mode=ro&immutable=1&uri=true"
    settings = shop.settings.model_copy(update={"database_url": SecretStr(url)})
    database = Database(url)
    lake = Lake(shop.lake.root, home.parent / "scratch", shop.settings.timezone)
    with protected(home):
        yield replace(shop, settings=settings, database=database, lake=lake)
        database.engine.dispose()


def copy_of(shop: Shop, home: Path, **options: Any) -> Shop:
    """Copy a shop, shared or not, to a home of its own; the copy is writable.

    Parameters
    ----------
    shop : Shop
        Dataclass with ``settings``, ``database`` and ``lake``.
    home : Path
        Folder to make.
    **options
        Settings of the copy, besides its home.
    """
    copy_folder(shop.settings.home, home)
    settings = Settings(home=home, _env_file=None, **options)
    database = Database(settings.database_url.get_secret_value(), settings)
    return replace(shop, settings=settings, database=database, lake=Lake.open(settings))


def _advice(path: str) -> str:
    return (
        f"This test writes to {path}, which other tests read. "
        "Use the fixture shop_copy, or build data of its own."
    )


def _refuse(path: Any) -> None:
    if root := _root_of(path):
        raise SharedDataWrite(f"{_advice(root)} Refused: {os.fsdecode(path)}.")


def _root_of(path: Any) -> str:
    """The protected folder that holds a path, or an empty string."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    full = os.path.abspath(os.fsdecode(path))
    return next((root for root in _protected if full == root or full.startswith(root + os.sep)), "")


def _audit(event: str, arguments: tuple) -> None:
    if not _protected:
        return
    if event == "open":
        path, _, flags = arguments
        # With O_EXCL an existing file is left alone: the caller gets FileExistsError.
        if flags & WRITE_FLAGS and not (flags & os.O_EXCL and _exists(path)):
            _refuse(path)
    elif event == "os.mkdir":
        if not _exists(arguments[0]):
            _refuse(arguments[0])
    elif event == "sqlite3.connect":
        path = (
            os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
        )
        if "mode=ro" not in path:
            _refuse(path.removeprefix("file:"))
    elif positions := WRITE_EVENTS.get(event):
        for position in positions:
            _refuse(arguments[position])


def _exists(path: Any) -> bool:
    return isinstance(path, (str, bytes, os.PathLike)) and os.path.exists(path)


def _install() -> None:
    """Add the audit hook and the wrappers, once a process; a hook cannot be taken away again."""
    global _installed
    if _installed:
        return
    _installed = True
    sys.addaudithook(_audit)
    for name in STORE_WRITERS:
        setattr(delta_store, name, _guarded(getattr(delta_store, name)))


def _guarded(write: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(write)
    def checked(root: Path, *arguments: Any, **options: Any) -> Any:
        _refuse(root)
        return write(root, *arguments, **options)

    return checked


def _set_writable(folder: Path, *, writable: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)


def _fingerprint(root: str) -> Fingerprint:
    found: Fingerprint = {}
    pending = [root]
    while pending:
        folder = pending.pop()
        status = os.stat(folder)
        found[folder] = (0, status.st_mtime_ns, status.st_mode)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    status = entry.stat(follow_symlinks=False)
                    found[entry.path] = (status.st_size, status.st_mtime_ns, status.st_mode)
    return found
