"""Recognise URLs, and create private folders and files."""

import os
from pathlib import Path
from typing import TextIO


def is_url(place: str) -> bool:
    """Return whether a place has a URL scheme.

    Databases and object stores have one, file paths have none.
    """
    return "://" in place


def create_private_folder(folder: Path) -> Path:
    """Create a folder for this user alone.

    Missing parents are created, too.

    Private folders hold addresses and tokens. An existing folder keeps its mode, because the
    operator may have chosen it.
    """
    if not folder.parent.exists():
        create_private_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def create_private_file(path: Path) -> TextIO:
    """Open a new file for this user alone. Raises `FileExistsError` if it is there."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(handle, "w", encoding="utf-8")
