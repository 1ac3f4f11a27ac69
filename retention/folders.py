"""Folders of our own: they hold customers' addresses and what may post as the bot."""

from pathlib import Path


def private(folder: Path) -> Path:
    """Make a folder, and those above it that are missing, which nobody else of this machine may enter.

    One that is there keeps its mode: whoever runs the installation may have chosen it.
    """
    if not folder.parent.exists():
        private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
