"""Create private folders: they hold addresses and tokens."""

from pathlib import Path


def private(folder: Path) -> Path:
    """Create a folder and its missing parents for this user alone.

    An existing folder keeps its mode, because the operator may have chosen it.
    """
    if not folder.parent.exists():
        private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
