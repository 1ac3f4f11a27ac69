"""Delete this host's copies of files of the object store that no job uses any more."""

from contextlib import suppress
from datetime import timedelta

from retention import clock
from retention.settings import LAKE_CACHE, Settings

EVERY = 3600.0  # seconds
# An erasure deletes the objects at once. This is how late a host without jobs follows.
UNUSED = timedelta(days=1)
_COPIES = (LAKE_CACHE, "quarantine")


def delete_unused(settings: Settings) -> None:
    """Delete the copies that nothing read for a day, or for as long as a job may take."""
    if not settings.lake_store:
        return
    before = (clock.wall() - max(UNUSED, settings.longest_job)).timestamp()
    for path in (path for name in _COPIES for path in (settings.home / name).rglob("*")):
        with suppress(FileNotFoundError):  # another worker is faster
            # Each use sets a time of the file, which sets its ctime.
            if path.is_file() and path.stat().st_ctime < before:
                path.unlink()
