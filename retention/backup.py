"""Back an installation up into one file, and bring it back: SQL first, then the lake, the models and the keys.

What SQL publishes is then in the copy of the lake. Of each Delta table the log is copied before its files: a log names only files
that were there before it, and files are kept for a day after they were replaced. A manifest holds the hash of every file.
"""

import gzip
import hashlib
import io
import json
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retention import clock
from retention.errors import BadInput
from retention.progress import Progress, silent
from retention.settings import Settings

MANIFEST, DATABASE, FORM = "manifest.json", "state.db", 1
_LEFT_OUT = {"scratch", "broker", "logs", "run"}  # each start makes them anew


@dataclass(frozen=True, slots=True)
class Backup:
    """What is in a backup: files, their bytes in all, and the database's revision."""

    file: str
    files: int
    bytes: int
    revision: str
    made_at: str


def backup(settings: Settings, target: Path, *, progress: Progress = silent) -> Backup:
    """Write a backup while everything runs. It holds the keys: whoever has it can read all there is.

    Raises
    ------
    BadInput
        There is nothing to back up, the file is there already, or the database or the lake is not in the home.
    """
    home = settings.home
    _check_local(settings)
    if not (home / DATABASE).exists():
        raise BadInput(f"There is no installation in {home}; `retention init` makes one.")
    if target.exists():
        raise BadInput(f"{target} is there already; name another file.")
    aside = target.with_name(f".{target.name}.part")
    hashes: dict[str, str] = {}
    made_at = clock.wall().isoformat()
    size = 0
    _begin(aside)
    try:
        with tempfile.TemporaryDirectory(dir=target.absolute().parent) as folder:
            database = Path(folder) / DATABASE
            revision = _database(home / DATABASE, database)
            with tarfile.open(aside, "w:gz", compresslevel=1) as tar:
                members = [(database, DATABASE), *((home / name, name) for name in _files(home))]
                for number, (path, name) in enumerate(members):
                    progress(number, len(members), f"copying {name}")
                    try:
                        content = path.read_bytes()
                    except FileNotFoundError:  # replaced meanwhile, and named by no log that was copied
                        continue
                    hashes[name] = hashlib.sha256(content).hexdigest()
                    size += len(content)
                    _add(tar, name, content)
                said = {
                    "form": FORM,
                    "revision": revision,
                    "made_at": made_at,
                    "files": hashes,
                }
                _add(tar, MANIFEST, json.dumps(said).encode())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return Backup(str(target), len(hashes), size, revision, made_at)


def _begin(aside: Path) -> None:
    """Make the file that is written, ours alone; what another backup writes is not touched."""
    try:
        aside.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise BadInput(
            f"{aside} is there already: another backup to this file is under way, or was killed; delete it if none is."
        ) from None


def restore(settings: Settings, source: Path, *, progress: Progress = silent) -> Backup:
    """Bring a backup into an empty home; every file is checked before any is put in its place.

    Raises
    ------
    BadInput
        The home is not empty, or the file is no backup of ours, or not whole.
    """
    home = settings.home
    _check_local(settings)
    if home.exists() and any(home.iterdir()):
        raise BadInput(
            f"{home} is not empty, so nothing was restored; name a new RETENTION_HOME, or move this one away."
        )
    if not source.is_file():
        raise BadInput(f"There is no file {source}; name the one that `retention backup` has written.")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".restoring-") as folder:
        inside = Path(folder) / "home"
        inside.mkdir(mode=0o700)
        try:
            with tarfile.open(source, "r:gz") as tar:
                tar.extractall(inside, filter="data")  # nothing outside the folder, no links, no devices
            said = json.loads((inside / MANIFEST).read_bytes())
        except (FileNotFoundError, EOFError, tarfile.TarError, ValueError, gzip.BadGzipFile, zlib.error):
            raise BadInput(
                f"{source} is no backup, or not whole (damaged, or cut short on its way); nothing was restored. "
                "Copy it anew, or take an earlier one."
            ) from None
        except OSError as error:
            raise BadInput(f"{source} cannot be restored: {error}.") from None
        size = _checked(inside, source, said, progress)
        (inside / MANIFEST).unlink()
        if home.exists():
            home.rmdir()
        inside.rename(home)
    return Backup(str(source), len(said["files"]), size, said["revision"], said["made_at"])


def _checked(inside: Path, source: Path, said: Any, progress: Progress) -> int:
    if not isinstance(said, dict) or said.get("form") != FORM or DATABASE not in said.get("files", {}):
        raise BadInput(f"{source} is no backup that this version can read.")
    size = 0
    for number, (name, digest) in enumerate(said["files"].items()):
        progress(number, len(said["files"]), f"checking {name}")
        path = inside / name
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise BadInput(f"{source} is damaged: {name} is not what was saved; nothing was restored.")
        if name.startswith("secret"):
            path.chmod(0o600)
        size += len(content)
    return size


def _check_local(settings: Settings) -> None:
    home = str(settings.home)
    if settings.database_url.get_secret_value() != f"sqlite:///{home}/{DATABASE}":
        raise BadInput(
            "The database is not in the home; back it up with its own tool first (pg_dump), then copy the home: docs/operating.md."
        )
    if settings.lake_url.partition("://")[2] != f"{home}/lake" or settings.models_url != f"{home}/models":
        raise BadInput(
            "The lake or the models are not in the home; back them up where they are, after the database."
        )


def _database(path: Path, copy: Path) -> str:
    """A copy of the database as one moment had it, and its revision."""
    with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(copy)) as made:
        live.backup(made)
        made.execute("PRAGMA journal_mode=DELETE")
        return str(made.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _files(home: Path) -> Iterator[str]:
    """Names of the home's other files: Delta's logs first, all that is made anew left out."""
    found = [
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        if path.is_file() and not path.is_symlink() and path.relative_to(home).parts[0] not in _LEFT_OUT
    ]
    ours = [name for name in found if not name.startswith(DATABASE) and not name.endswith((".lock", ".sock"))]
    yield from sorted(ours, key=lambda name: ("_delta_log/" not in name, name))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(clock.wall().timestamp())
    tar.addfile(member, io.BytesIO(content))
