"""Back up an installation to one file and restore it.

A backup holds the database, the lake, the models, and the key if the key is in the home. The
database is a SQLite file in it, also that of a desk on PostgreSQL, so that a backup of either can
be restored into either. It is copied first, so the lake's copy has everything that it refers to.
Each Delta table's log is copied before its files: a log names only existing files, and replaced
files stay for a day. A manifest lists every file with its hash. `backup_encryption` encrypts the
whole.
"""

import gzip
import hashlib
import io
import json
import sqlite3
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from pydantic import SecretStr
from sqlalchemy import Connection

from retention import clock
from retention.db import Database, audit_chain, copying, migrate
from retention.errors import BadInput
from retention.faults import diagnose
from retention.installation import backup_encryption
from retention.installation.backup_encryption import BackupKey
from retention.installation.move import key_lines
from retention.keys import key_id
from retention.paths import create_private_folder
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

MANIFEST, DATABASE, KEYS, FORM = "manifest.json", "state.db", "secret.key", 1
# Errors of a file that is no backup, or not whole.
_NO_BACKUP = (
    FileNotFoundError,
    EOFError,
    ValueError,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
)
# Created at each start. Heads of the audit log may be newer than the copy of the database.
_LEFT_OUT = {"scratch", "broker", "logs", "run", audit_chain.HEADS}


@dataclass(frozen=True, slots=True)
class Backup:
    """Contents of a backup.

    `contains`: those of ``database``, ``lake``, ``models`` and ``key`` in the backup.
    `contains_key`: whether the backup holds the key in use. If not, keep the key elsewhere: the
    data is useless without it.
    `protection`: ``passphrase`` or ``recipient``; empty if the file is not encrypted.
    `key`: ``in backup``, ``elsewhere`` (given by ``RETENTION_SECRET_KEY``), ``missing`` or, after a
    restore, ``different``.
    `audit_head`: the newest hash of the audit log; empty in an older backup.
    `settings`: lines of settings that a restored desk on PostgreSQL needs.
    """

    file: str
    files: int
    bytes: int
    revision: str
    made_at: str
    contains: list[str]
    contains_key: bool
    key: str
    protection: str
    audit_head: str
    settings: list[str]


def backup(
    settings: Settings,
    target: Path,
    encryption: BackupKey | None = None,
    *,
    progress: Progress = silent,
) -> Backup:
    """Write a backup while the installation runs.

    Its parts lie in the home until they are encrypted, and are never elsewhere in clear.
    """
    home = settings.home
    _check_local(settings)
    if _is_in_home(settings) and not (home / DATABASE).exists():
        text = gettext("There is no installation in {home}; `retention init` makes one.")
        raise BadInput(text.format(home=home))
    if target.exists():
        text = gettext("{target} is there already; name another file.")
        raise BadInput(text.format(target=target))
    if not settings.secret_key.get_secret_value():
        _ = settings.key  # created if it was never used, so the backup has it
    if encryption:
        backup_encryption.check(encryption)
    partial = target.with_name(f".{target.name}.part")
    hashes: dict[str, str] = {}
    made_at = clock.wall().isoformat()
    size = 0
    _create_partial(partial)
    try:
        scratch = create_private_folder(home / "scratch")
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            database = Path(folder) / DATABASE
            revision = _copy_database(settings, database)
            audit_head = _audit_head(database)
            archive = Path(folder) / "archive" if encryption else partial
            with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
                members = [
                    (database, DATABASE),
                    *((home / name, name) for name in _file_names(home)),
                ]
                for number, (path, name) in enumerate(members):
                    progress(number, len(members), gettext("copying {name}").format(name=name))
                    try:
                        content = path.read_bytes()
                    except FileNotFoundError:
                        continue  # replaced meanwhile; no copied log names it
                    hashes[name] = hashlib.sha256(content).hexdigest()
                    size += len(content)
                    _add(tar, name, content)
                manifest = {
                    "form": FORM,
                    "revision": revision,
                    "made_at": made_at,
                    "files": hashes,
                    "bytes": size,
                    "contains_key": KEYS in hashes and _key_of(settings, home) == _key_in(home),
                    "key_id": key_id(settings.key),
                    "audit_head": audit_head,
                }
                _add(tar, MANIFEST, json.dumps(manifest).encode())
            if encryption:
                backup_encryption.encrypt(archive, partial, encryption)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return _describe(
        target, manifest, size, "in backup" if manifest["contains_key"] else "elsewhere"
    )


def _describe(
    file: Path, manifest: dict[str, Any], size: int, key: str, lines: Sequence[str] = ()
) -> Backup:
    names = manifest["files"]
    parts = {
        "database": DATABASE in names,
        "lake": any(name.startswith("lake/") for name in names),
        "models": any(name.startswith("models/") for name in names),
        "key": manifest["contains_key"],
    }
    contains = [part for part, is_in in parts.items() if is_in]
    about = manifest["revision"], manifest["made_at"], contains, manifest["contains_key"]
    more = backup_encryption.protection(file), manifest.get("audit_head", "")
    return Backup(str(file), len(names), size, *about, key, *more, list(lines))


def _audit_head(database: Path) -> str:
    """Return the newest hash of the audit log; empty in a database of before there were any."""
    query = "SELECT hash FROM audit_links ORDER BY id DESC LIMIT 1"
    with closing(sqlite3.connect(database)) as connection, suppress(sqlite3.OperationalError):
        row = connection.execute(query).fetchone()
        return str(row[0]) if row else ""
    return ""


def _key_in(home: Path) -> str:
    """Return the current key in a home. Empty if there is none."""
    path = home / KEYS
    return (path.read_text(encoding="ascii").split() or [""])[0] if path.exists() else ""


def _key_of(settings: Settings, home: Path) -> str:
    """Return the key that an installation would use.

    Empty if there is none, in this home or in the environment.
    """
    return settings.secret_key.get_secret_value() or _key_in(home)


def _create_partial(partial: Path) -> None:
    """Create the private file to write. Fail if another backup is writing it."""
    try:
        partial.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        text = gettext(
            "{file} is there already: another backup to this file is under way, or was "
            "killed; delete it if none is."
        )
        raise BadInput(text.format(file=partial)) from None


def restore(
    settings: Settings,
    source: Path,
    encryption: BackupKey | None = None,
    *,
    progress: Progress = silent,
) -> Backup:
    """Restore a backup into an empty home, and into an empty database if it is not in the home.

    Every file is checked before any is moved into place.

    `settings`: the new installation; its home must be empty.
    Returns: contents; ``key`` says whether the new installation has the old key.
    Raises `BadInput`: if the home is not empty, or the file is no backup, is damaged, or holds a
    file that its manifest does not list.
    """
    home = settings.home
    _check_local(settings)
    if home.exists() and any(home.iterdir()):
        sentence = gettext(
            "{home} is not empty, so nothing was restored; name a new RETENTION_HOME, or "
            "move this one away."
        )
        raise BadInput(sentence.format(home=home))
    if not source.is_file():
        message = gettext(
            "There is no file {source}; name the one that `retention backup` has written."
        )
        raise BadInput(message.format(source=source))
    home.parent.mkdir(parents=True, exist_ok=True)
    elsewhere = nullcontext() if _is_in_home(settings) else copying.filling(settings)
    # The transaction of a database elsewhere ends last, so it stays empty if anything fails.
    with (
        tempfile.TemporaryDirectory(dir=home.parent, prefix=".restoring-") as folder,
        elsewhere as target,
    ):
        new_home = Path(folder) / "home"
        new_home.mkdir(mode=0o700)
        try:
            archive = source
            if backup_encryption.protection(source):
                archive = Path(folder) / "archive"
                backup_encryption.decrypt(source, archive, encryption or BackupKey())
            with tarfile.open(archive, "r:gz") as tar:
                members = tar.getmembers()
                manifest = _manifest(tar, members, source)
                _check_members(members, manifest, source)
                size = _extract(tar, members, manifest, new_home, source, progress)
        except _NO_BACKUP:
            words = gettext(
                "{source} is no backup, or not whole (damaged, or cut short on its way); "
                "nothing was restored. Copy it anew, or take an earlier one."
            )
            raise BadInput(words.format(source=source)) from None
        except OSError as error:
            if diagnose(error, settings):  # for example a full disk
                raise
            text = gettext("{source} cannot be restored: {strerror}.")
            raise BadInput(text.format(source=source, strerror=error.strerror)) from None
        if target is not None:
            _fill(target, settings, new_home, progress)
        key = _restored_key(settings, new_home, manifest)
        if home.exists():
            home.rmdir()
        new_home.rename(home)
    lines = [] if key == "different" else key_lines(settings, settings)
    return _describe(source, manifest, size, key, lines)


def _fill(target: Connection, settings: Settings, new_home: Path, progress: Progress) -> None:
    """Move the rows of a restored file into the database of the settings."""
    path = new_home / DATABASE
    own = _with_file(settings.model_copy(update={"home": new_home}), path)
    migrate.upgrade(own)
    database = Database(own.database_url.get_secret_value(), own)
    try:
        with copying.one_moment(database) as rows:
            copying.copy_rows(rows, target, progress)
    finally:
        database.engine.dispose()
    for file in new_home.glob(f"{DATABASE}*"):
        file.unlink()


def _with_file(settings: Settings, path: Path) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(f"sqlite:///{path}")})


def _is_in_home(settings: Settings) -> bool:
    return settings.database_url.get_secret_value() == f"sqlite:///{settings.home}/{DATABASE}"


def _manifest(tar: tarfile.TarFile, members: list[tarfile.TarInfo], source: Path) -> dict[str, Any]:
    manifest_members = [member for member in members if member.name == MANIFEST and member.isreg()]
    if not manifest_members:
        raise tarfile.TarError
    content = tar.extractfile(manifest_members[-1])
    manifest = json.loads(content.read()) if content else None
    manifest = manifest if isinstance(manifest, dict) else {}
    files = manifest.get("files") if manifest.get("form") == FORM else None
    if not isinstance(files, dict) or DATABASE not in files:
        text = gettext("{source} is no backup that this version can read.")
        raise BadInput(text.format(source=source))
    return {"contains_key": KEYS in files, **manifest}  # older manifests lack it


def _check_members(members: list[tarfile.TarInfo], manifest: dict[str, Any], source: Path) -> None:
    """Refuse members that `backup` would not write. This happens before any file is written."""
    remedy = gettext(
        "Nothing was restored. Somebody may have changed this file: take the "
        "original, or another backup."
    )

    def refuse(sentence: str, **values: Any) -> NoReturn:
        raise BadInput(sentence.format(source=source, remedy=remedy, **values))

    times = Counter(member.name for member in members)
    for member in members:
        name, path = member.name, PurePosixPath(member.name)
        if path.is_absolute() or ".." in name.split("/") or str(path) != name:
            text = gettext(
                "{source} contains {name!r}, which would be written outside the home. {remedy}"
            )
            refuse(text, name=name)
        if name != MANIFEST and name not in manifest["files"]:
            text = gettext("{source} contains {name!r}, which its manifest does not list. {remedy}")
            refuse(text, name=name)
        if not member.isreg() or member.issparse():
            text = gettext("{source} contains {name!r}, which is not a plain file. {remedy}")
            refuse(text, name=name)
        if times[name] > 1:
            refuse(gettext("{source} contains {name!r} more than once. {remedy}"), name=name)
    missing = sorted(manifest["files"].keys() - times.keys())
    if missing:
        text = gettext("{source} lacks {missing!r}, which its manifest lists. {remedy}")
        refuse(text, missing=missing[0])
    size = sum(member.size for member in members if member.name != MANIFEST)
    if manifest.get("bytes", size) != size:
        text = gettext("{source} has {size} bytes of files; its manifest says {bytes}. {remedy}")
        refuse(text, size=size, bytes=manifest["bytes"])


def _extract(
    tar: tarfile.TarFile,
    members: list[tarfile.TarInfo],
    manifest: dict[str, Any],
    new_home: Path,
    source: Path,
    progress: Progress,
) -> int:
    """Write the files and compare their hashes. Return their total size in bytes."""
    files = [member for member in members if member.name != MANIFEST]
    size = 0
    for number, member in enumerate(files):
        progress(number, len(files), gettext("checking {name}").format(name=member.name))
        content = tar.extractfile(member)
        digest = hashlib.sha256()
        path = new_home / member.name
        create_private_folder(path.parent)
        with path.open("wb") as file:
            path.chmod(0o600)
            while content and (chunk := content.read(1 << 20)):
                digest.update(chunk)
                size += file.write(chunk)
        if digest.hexdigest() != manifest["files"][member.name]:
            text = gettext(
                "{source} is damaged: {name} is not what was saved; nothing was restored."
            )
            raise BadInput(text.format(source=source, name=member.name))
    return size


def _restored_key(settings: Settings, new_home: Path, manifest: dict[str, Any]) -> str:
    key = _key_of(settings, new_home)
    if not key:
        return "missing"
    if manifest.get("key_id", key_id(key.encode())) != key_id(key.encode()):
        return "different"
    return "in backup" if manifest["contains_key"] else "elsewhere"


def _check_local(settings: Settings) -> None:
    home = settings.home
    places = settings.lake_url.partition("://")[2], settings.models_url
    if places != (f"{home}/lake", f"{home}/models"):
        text = gettext(
            "The lake or the models are not in the home; back them up where they are, "
            "after the database."
        )
        raise BadInput(text)


def _copy_database(settings: Settings, copy: Path) -> str:
    """Copy the database at one point in time into a SQLite file. Return its schema revision."""
    if not _is_in_home(settings):
        database = Database(settings.database_url.get_secret_value(), settings)
        try:
            copying.copy_database(database, _with_file(settings, copy))
        finally:
            database.engine.dispose()
    with closing(sqlite3.connect(copy)) as copied:
        if _is_in_home(settings):
            with closing(sqlite3.connect(settings.home / DATABASE)) as live:
                live.backup(copied)
        copied.execute("PRAGMA journal_mode=DELETE")
        return str(copied.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _file_names(home: Path) -> Iterator[str]:
    """Yield the names of the home's other files.

    Delta logs come first. Temporary folders are left out.
    """
    files = (path for path in home.rglob("*") if path.is_file() and not path.is_symlink())
    names = (path.relative_to(home).as_posix() for path in files)
    included = [
        name
        for name in names
        if name.partition("/")[0] not in _LEFT_OUT
        and not name.startswith(DATABASE)
        and not name.endswith((".lock", ".sock"))
    ]
    yield from sorted(included, key=lambda name: ("_delta_log/" not in name, name))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(clock.wall().timestamp())
    tar.addfile(member, io.BytesIO(content))
