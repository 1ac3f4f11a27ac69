"""A folder for what an import unpacks: customers' data as it came. What killed imports left goes with the next one."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX, _HELD = "retention-import-", ".held"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that only we may enter; dropped at the end, and where there is none (kill -9), by the next import."""
    _drop_what_is_left()
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as name,
        Path(name, f"{_HELD}.new").open("wb") as held,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)  # it goes with this process, however that ends
        Path(held.name).rename(Path(name, _HELD))  # nobody sees it before it is locked
        yield Path(name)


def _drop_what_is_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another's, one that is in use, or gone just now
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            with (folder / _HELD).open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
