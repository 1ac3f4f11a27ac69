"""Start `workers.data.lake_copies` every few minutes, on a host of an object store.

It is a process of its own: delta-rs cannot be used in a worker's parent, which forks.
"""

import subprocess
import sys

from retention.settings import Settings

EVERY = 600.0  # seconds; how late an erasure on another host reaches this one


class StoreFollower:
    """Starts the process, unless the last one still runs."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, settings: Settings) -> None:
        """Begin, if the lake is on a store."""
        if settings.lake_store and (self.process is None or self.process.poll() is not None):
            self.process = subprocess.Popen([sys.executable, "-m", "workers.data.lake_copies"])
