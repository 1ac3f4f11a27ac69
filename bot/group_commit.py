"""Commit the writes of concurrent requests in one transaction."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from retention import clock, traces
from retention.db import Database, Transaction
from retention.errors import Conflict
from retention.text import gettext

log = logging.getLogger("retention.bot")

T = TypeVar("T")
Write = tuple[Callable[[Transaction], Any], Future[Any], float]

MAX_BATCH = 50  # writes per transaction
IDLE_SECONDS = 0.03  # wait for urgent writes before a deferred one


class GroupCommit:
    """Group commit with one writer thread.

    The thread stores all writes that arrive during the previous commit. SQLite has one writer
    and waits for the disk at each commit. Without this, fifty people at once would wait for
    fifty commits in turn. Deferred writes run while no urgent write waits.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._urgent: deque[Write] = deque()
        self._deferred: deque[Write] = deque()
        self._changed = Condition()
        self._is_busy = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="group-commit")

    def store(self, write: Callable[[Transaction], T], until: float = math.inf) -> T:
        """Run a write in its own savepoint; return its value after the commit.

        `until`: a later write is refused, by `time.monotonic`.
        """
        future: Future[T] = Future()
        self._add(self._urgent, (traces.carried(write), future, until))
        return future.result()

    def defer(self, write: Callable[[Transaction], Any]) -> None:
        """Run a write while nothing urgent waits.

        Failures are logged. The write is lost if the process dies.
        """
        future: Future[Any] = Future()
        future.add_done_callback(_log_failure)
        self._add(self._deferred, (traces.carried(write), future, math.inf))

    def _add(self, queue: deque[Write], write: Write) -> None:
        with self._changed:
            queue.append(write)
            self._changed.notify()
            if not self._is_busy:
                self._is_busy = True
                self._writer.submit(self._store_all)

    def _store_all(self) -> None:
        while batch := self._next_batch():
            answers: list[tuple[Future[Any], Any]] = []
            try:
                with clock.frozen(), self._database.transaction() as session:
                    for write, future, until in batch:
                        try:
                            _check_time(until)
                            with session.begin_nested():
                                answers.append((future, write(session)))
                        except (InterfaceError, OperationalError):  # affects every write
                            raise
                        except Exception as error:
                            future.set_exception(error)
            except Exception as error:  # of the transaction: nothing is stored
                for _, future, _ in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future, answer in answers:
                    future.set_result(answer)

    def _next_batch(self) -> list[Write]:
        with self._changed:
            if not self._urgent and self._deferred:
                self._changed.wait(IDLE_SECONDS)
            queue, limit = (self._urgent, MAX_BATCH) if self._urgent else (self._deferred, 1)
            batch = [queue.popleft() for _ in range(min(limit, len(queue)))]
            self._is_busy = bool(batch)
            return batch


def _check_time(until: float) -> None:
    if time.monotonic() > until:
        raise Conflict(
            gettext("The database is too busy just now, so nothing was accepted; please try again.")
        )


def _log_failure(future: Future[Any]) -> None:
    if error := future.exception():
        log.warning("a deferred write was not stored: %s", error)
