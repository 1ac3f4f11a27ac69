"""List and fetch the files of a source: on this machine or in an object store."""

import glob
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from retention import clock
from retention.connect.sources.source_records import SourceProblem
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

# Packages with the drivers of object stores, by the scheme of the URL.
DRIVERS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "sftp": "paramiko",
}
# Words in the class names and codes of drivers' errors, such as NoCredentialsError of boto.
_DENIED = (
    *("credential", "forbidden", "accessdenied", "unauthorized", "permission"),
    "authentication",
)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a source.

    `path`: its path, by which it is known between pulls.
    """

    path: str
    stamp: str
    is_empty: bool
    fetch: Callable[[Path], Path]


def driver_options(config: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a driver; ``true`` and ``false`` become booleans."""
    words: dict[str, Any] = {"true": True, "false": False}
    return {key: words.get(value.lower(), value) for key, value in config.items()} | dict(secrets)


def files(
    settings: Settings, kind: str, location: str, options: Mapping[str, Any]
) -> list[RemoteFile]:
    """List the files of a source of the kind ``files`` or ``object_store``, in order."""
    if kind == "files":
        return local_files(location)
    return stored_files(settings, location, options)


def local_files(pattern: str) -> list[RemoteFile]:
    """List files of this machine by a path or a pattern, in order.

    Raises `SourceProblem`: ``access_denied``.
    """
    listed = []
    for path in sorted(glob.glob(pattern, recursive=True)):
        file = Path(path)
        try:
            status = file.stat()
            if file.is_dir():
                continue
            with file.open("rb"):
                pass
        except PermissionError:
            raise SourceProblem("access_denied", detail=str(file)) from None
        except FileNotFoundError:  # gone since it was listed
            continue
        stamp = f"{status.st_size}:{status.st_mtime_ns}"
        listed.append(RemoteFile(path, stamp, not status.st_size, partial(_in_place, file)))
    return listed


def stored_files(settings: Settings, url: str, options: Mapping[str, Any]) -> list[RemoteFile]:
    """List files of an object store by a URL or a pattern, in order.

    `url`: URL that fsspec understands, such as ``s3://bucket/orders/*.csv``.
    Raises `SourceProblem`: ``access_denied`` or ``unavailable``.
    """
    if url.startswith(("http://", "https://")):
        return _web_file(settings, url, options)
    system, path = _file_system(url, options)
    try:
        paths = system.glob(path) if glob.has_magic(path) else [path] * system.exists(path)
        found = {path: system.info(path) for path in sorted(paths)}
        return [
            RemoteFile(
                path,
                _stamp(system, path, info),
                info.get("size") == 0,
                partial(_download, system, path),
            )
            for path, info in found.items()
            if info["type"] == "file"
        ]
    except Exception as error:  # each driver has errors of its own
        raise _problem(error) from error


def _web_file(settings: Settings, url: str, options: Mapping[str, Any]) -> list[RemoteFile]:
    """Return the file at a web address; none if there is no such file."""
    from retention.connect.sources import public_web

    with public_web.answer(settings, url, options) as answer:
        if answer.status_code == 404:
            return []
        headers = answer.headers
    mark = headers.get("etag") or headers.get("last-modified")
    # Without a mark it is read at each pull; the import finds what is new.
    stamp = f"{headers.get('content-length')}:{mark or clock.wall().isoformat()}"
    is_empty = headers.get("content-length") == "0"
    return [RemoteFile(url, stamp, is_empty, partial(_fetch, settings, url, options))]


def _fetch(settings: Settings, url: str, options: Mapping[str, Any], folder: Path) -> Path:
    from retention.connect.sources import public_web

    target = _target(urlsplit(url).path, folder)
    with public_web.answer(settings, url, options) as answer:
        public_web.save(settings, answer, target)
    return target


def _file_system(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    import fsspec

    scheme = url.partition("://")[0]
    # fsspec also reads this machine, any web address, and "zip::http://…", a chain of schemes.
    if scheme not in DRIVERS or "::" in url:
        message = gettext(
            "{scheme}:// is no object store that can be read; use one of {schemes}, or a path."
        )
        schemes = ", ".join(sorted({*DRIVERS, "https"}))
        raise BadInput(message.format(scheme=scheme, schemes=schemes))
    try:
        system, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        message = gettext(
            "{scheme}:// needs the package {package}; run `pip install {package}` where the "
            "desk runs."
        )
        raise BadInput(message.format(scheme=scheme, package=DRIVERS[scheme])) from error
    except Exception as error:
        raise _problem(error) from error
    return system, path


def _stamp(system: Any, path: str, info: dict[str, Any]) -> str:
    """Return what changes with a file's content: its ETag, else its size and time."""
    mark = next((info[key] for key in ("ETag", "etag", "md5Hash", "mtime") if info.get(key)), None)
    if mark is None:
        try:
            mark = system.modified(path)
        except Exception:  # many drivers have no such time
            mark = ""
    return f"{info.get('size')}:{mark}"


def _in_place(file: Path, _: Path) -> Path:
    return file


def _download(system: Any, path: str, folder: Path) -> Path:
    """Copy a file into a folder; its local path is the same at each pull."""
    target = _target(path, folder)
    try:
        system.get_file(path, str(target))
    except Exception as error:
        raise _problem(error) from error
    return target


def _target(path: str, folder: Path) -> Path:
    name = PurePosixPath(path).name or "file.csv"
    target = folder / hashlib.sha256(path.encode()).hexdigest()[:12] / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _problem(error: Exception) -> SourceProblem:
    detail = (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
    return SourceProblem("access_denied" if _is_denied(error) else "unavailable", detail=detail)


def _is_denied(error: BaseException) -> bool:
    """Return whether an error, or its cause, is a refusal by its type or its HTTP status.

    The text does not count: it has names of files, such as ``orders_202401.csv``.
    """
    statuses = {str(getattr(error, name, "")) for name in ("status_code", "status", "code")}
    names = " ".join(each.__name__ for each in type(error).__mro__).lower()
    return (
        bool(statuses & {"401", "403"})
        or any(word in names for word in _DENIED)
        or (isinstance(error, OSError) and str(error).startswith("Forbidden: "))  # of gcsfs
        or (error.__cause__ is not None and _is_denied(error.__cause__))
    )
