"""A worker's child is kept warm between jobs, and gives its memory back when nothing has come for a while.

Importing the modelling rooms takes seconds, which the next job then need not wait for; but an installation that idles
shall be small. So a child that has grown leaves once it has been idle: the pool starts an empty one in its place.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from billiard.pool import EX_RECYCLE

IDLE_SECONDS = 30.0  # seconds without a job
# Bytes. An empty child has 100 MiB; three that stay must not take 1 GiB with all other processes.
KEEP_BELOW = 160 * 2**20


class IdleExit:
    """Watches one child; made before the fork, its thread starts after the first job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs = 0

    @contextmanager
    def job(self) -> Iterator[None]:
        """For as long as a job runs the child stays."""
        with self._lock:
            self._jobs += 1
        try:
            yield
        finally:
            timer = threading.Timer(IDLE_SECONDS, self._leave, [self._jobs])
            timer.daemon = True
            timer.start()

    def _leave(self, after: int) -> None:
        """Exit, unless another job has begun since. One that is on its way at this moment is sent again by the pool."""
        with self._lock:
            if self._jobs == after and psutil.Process().memory_info().rss > KEEP_BELOW:
                os._exit(EX_RECYCLE)
