"""Recognise URLs and create private folders."""

from pathlib import Path


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
