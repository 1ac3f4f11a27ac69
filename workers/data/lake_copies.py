"""Keep this host's copies of what the object store holds: no copy outlives its object for long.

`workers.queue.store_follower` starts it as a process.
"""

import logging
from contextlib import suppress
from datetime import timedelta

from retention import clock, logs
from retention.errors import Refused
from retention.lake.importing import quarantine
from retention.lake.storage.object_store import ObjectStore
from retention.settings import LAKE_CACHE, Settings, load_settings_or_exit

log = logging.getLogger(__name__)
UNUSED = timedelta(days=1)  # the age of a copy that no job uses any more
_COPIES = (LAKE_CACHE, "quarantine", "uploads", "read", "scratch", "sources/*/downloads")


def follow_store(settings: Settings) -> None:
    """Delete the copies whose object is gone, and those that nothing read for a day."""
    delete_unused(settings)
    if any(path.is_file() for path in (settings.home / LAKE_CACHE).rglob("*")):
        ObjectStore(settings).prune()
    if any(path.is_file() for path in quarantine.folder(settings).rglob("*")):
        quarantine.files(settings)


def delete_unused(settings: Settings) -> None:
    """Delete what nothing used for a day, or for as long as a job may take."""
    before = (clock.wall() - max(UNUSED, settings.longest_job)).timestamp()
    folders = (folder for name in _COPIES for folder in settings.home.glob(name))
    for path in (path for folder in folders for path in folder.rglob("*")):
        with suppress(FileNotFoundError):  # another worker is faster
            # Each use sets a time of the file, which sets its ctime.
            if path.is_file() and path.stat().st_ctime < before:
                path.unlink()


if __name__ == "__main__":
    settings = load_settings_or_exit()
    logs.configure(form=settings.log_format)
    try:
        follow_store(settings)
    except (OSError, Refused) as error:  # the store is away; another process follows
        log.warning("copies of the lake were not compared with the store: %s", error)
