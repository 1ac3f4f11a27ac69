"""Let idle worker processes exit to free their memory.

A worker's child stays warm between jobs, because importing the modelling packages takes seconds. A
child that has grown exits after an idle time, and the pool starts an empty one.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from billiard.pool import EX_RECYCLE

IDLE_SECONDS = 300.0  # seconds without a job; a person who reads a card opens the next one warm
# Bytes. An empty child has 100 MiB. Three children and all other processes must stay below 1 GiB.
KEEP_BELOW = 160 * 2**20


class IdleExit:
    """Exit timer of one child process.

    It is made before the fork. Its thread starts after the first job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs = 0
        self._timer: threading.Timer | None = None
        self.stays = False  # a child that warms up, because its successor would do so again

    @contextmanager
    def job(self) -> Iterator[None]:
        """Keep the child alive while a job runs."""
        with self._lock:
            self._jobs += 1
        try:
            yield
        finally:
            self._wait()

    def _wait(self) -> None:
        """Start the timer again. One for each job would be hundreds of threads in a busy child."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(IDLE_SECONDS, self._leave, [self._jobs])
            self._timer.daemon = True
            self._timer.start()

    def _leave(self, after: int) -> None:
        """Exit unless another job has begun since.

        The pool sends a job again that arrives at this moment.
        """
        with self._lock:
            if self.stays or self._jobs != after:
                return
            if psutil.Process().memory_info().rss > KEEP_BELOW:
                os._exit(EX_RECYCLE)
