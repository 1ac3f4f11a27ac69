"""Move an installation to another database, and its lake to another folder.

The old database is only read, and nobody can write to it meanwhile. The new lake is complete before
the transaction that fills the new database ends, so a move that is cut short can begin again.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import Connection, make_url, select
from sqlalchemy.exc import ArgumentError

from retention import clock
from retention.db import Database
from retention.db.copying import copy_rows, filling, one_moment
from retention.db.tables import Job, Process
from retention.errors import BadInput
from retention.lake import Lake
from retention.paths import create_private_folder, is_url
from retention.progress import Progress, silent
from retention.settings import DATABASES, Settings
from retention.text import gettext


@dataclass(frozen=True, slots=True)
class Move:
    """What was moved.

    `database`: the URL of the new database; ``***`` stands for its password.
    `files`, `bytes`: of the lake; 0 if it stays where it is.
    `settings`: lines of settings that the processes need from now on.
    """

    database: str
    tables: int
    rows: int
    lake: str
    files: int
    bytes: int
    settings: list[str]


def move(database: Database, to: str, lake: str = "", *, progress: Progress = silent) -> Move:
    """Copy the database to another one, and the lake to another folder if one is named.

    Raises `BadInput`: the desk runs, the new place is not empty, or a copy differs.
    """
    settings = database.settings
    new_settings = settings.model_copy(update={"database_url": SecretStr(to)})
    _check_url(to, database)
    with one_moment(database, fence=True) as source:
        _check_stopped(source)
        with filling(new_settings) as target:
            files, size = _copy_lake(settings, lake, progress) if lake else (0, 0)
            rows = copy_rows(source, target, progress)
    shown = make_url(to).render_as_string(hide_password=True)
    lake_url = _lake_url(settings, lake)
    lines = [f"RETENTION_DATABASE_URL={shown}"]
    lines += [f"RETENTION_LAKE_URL={lake_url}"] if lake else []
    lines += key_lines(settings, new_settings)
    full = sum(map(bool, rows.values()))
    return Move(shown, full, sum(rows.values()), lake_url, files, size, lines)


def key_lines(settings: Settings, new_settings: Settings) -> list[str]:
    """Return the settings that give a desk on PostgreSQL the keys in the file of its home."""
    path = settings.home / "secret.key"
    is_sqlite = new_settings.database_url.get_secret_value().startswith("sqlite")
    if is_sqlite or settings.secret_key.get_secret_value() or not path.exists():
        return []
    if len(path.read_text(encoding="ascii").split()) == 1:
        return [f"RETENTION_SECRET_KEY_FILE={path}"]
    first = gettext("the first line of {path}").format(path=path)
    return [f"RETENTION_SECRET_KEY=*** ({first})", f"RETENTION_OLD_SECRET_KEYS_FILE={path}"]


def password_of(url: str) -> str:
    """Return the password in a URL; empty if there is none, or it is no URL."""
    try:
        return str(make_url(url).password or "")
    except (ArgumentError, ValueError):
        return ""


def _check_url(to: str, database: Database) -> None:
    scheme, is_whole, _ = to.partition("://")
    try:
        url = make_url(to)
    except (ArgumentError, ValueError):  # whose text has the password
        url, is_whole = None, ""
    if url is None or not is_whole or scheme not in DATABASES:
        sentence = gettext(
            "The new database is {seen}; write it like postgresql://USER:PASSWORD@HOST/DATABASE."
        )
        seen = f"{scheme}://…" if is_url(to) else gettext("no URL")
        raise BadInput(sentence.format(seen=seen), field="to")
    if url == database.url:
        text = gettext("The desk uses that database already; name another one.")
        raise BadInput(text, field="to")


def _check_stopped(source: Connection) -> None:
    now = clock.wall()
    running = select(Process.name).where(Process.seen_at >= now - Process.STALE_AFTER)
    jobs = select(Job.worker).where(Job.state == "running", Job.lease_until > now)
    name = source.scalar(running.order_by(Process.name)) or source.scalar(jobs)
    if name:
        text = gettext(
            "The desk is running ({process}); stop all of its processes. If they were killed, "
            "wait a minute."
        )
        raise BadInput(text.format(process=name))


def _lake_url(settings: Settings, lake: str) -> str:
    if not lake:
        return settings.lake_url
    engine, _, rest = settings.lake_url.partition("://")
    host = rest.partition("/")[0] if engine == "spark" else ""
    return f"{engine}://{host}{_folder(lake)}"


def _folder(lake: str) -> Path:
    if is_url(lake):
        text = gettext("The new place of the lake is {place!r}; name a folder.")
        raise BadInput(text.format(place=lake), field="lake")
    return Path(lake).expanduser().absolute()


def _copy_lake(settings: Settings, lake: str, progress: Progress) -> tuple[int, int]:
    """Copy the lake's files. Return their number and size.

    A copy that is complete from an earlier move stays. Another that was begun is made anew.
    """
    old, new = Lake.open(settings).root, _folder(lake)
    if not isinstance(old, Path):
        text = gettext("The lake is on an object store, where it stays; leave out the folder.")
        raise BadInput(text, field="lake")
    if new == old or old in new.parents or new in old.parents:
        text = gettext("{folder} is in the old lake, or around it; name another folder.")
        raise BadInput(text.format(folder=new), field="lake")
    part = new.with_name(f".{new.name}.moving")
    names = _names(old)
    if not (is_there := new.is_dir() and any(new.iterdir())):
        shutil.rmtree(part, ignore_errors=True)
        create_private_folder(part)
        for number, name in enumerate(names):
            progress(number, len(names), gettext("copying {name}").format(name=name))
            create_private_folder((part / name).parent)
            shutil.copyfile(old / name, part / name)
    copied = new if is_there else part
    is_equal = _names(copied) == names and all(
        _hash(old / name) == _hash(copied / name) for name in names
    )
    if not is_equal:
        sentence = gettext("{folder} is not empty and differs from the lake; name an empty folder.")
        if not is_there:
            sentence = gettext("The copy of the lake in {folder} differs; check the disk.")
        raise BadInput(sentence.format(folder=copied), field="lake")
    if not is_there:
        part.replace(new)
    return len(names), sum((new / name).stat().st_size for name in names)


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if not name.startswith(".locks/"))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
