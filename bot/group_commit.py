"""Commit the writes of concurrent requests in one transaction."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from retention import clock
from retention.db import Database

log = logging.getLogger("retention.bot")

T = TypeVar("T")
Write = tuple[Callable[[Session], Any], Future[Any]]

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

    def store(self, write: Callable[[Session], T]) -> T:
        """Run a write in its own savepoint; return its value after the commit."""
        future: Future[T] = Future()
        self._add(self._urgent, write, future)
        return future.result()

    def defer(self, write: Callable[[Session], Any]) -> None:
        """Run a write while nothing urgent waits.

        Failures are logged. The write is lost if the process dies.
        """
        future: Future[Any] = Future()
        future.add_done_callback(_log_failure)
        self._add(self._deferred, write, future)

    def _add(
        self, queue: deque[Write], write: Callable[[Session], Any], future: Future[Any]
    ) -> None:
        with self._changed:
            queue.append((write, future))
            self._changed.notify()
            if not self._is_busy:
                self._is_busy = True
                self._writer.submit(self._store_all)

    def _store_all(self) -> None:
        while batch := self._next_batch():
            try:
                self._commit_batch(batch)
            except Exception as error:  # of the transaction: nothing is stored
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    def _next_batch(self) -> list[Write]:
        with self._changed:
            if not self._urgent and self._deferred:
                self._changed.wait(IDLE_SECONDS)
            queue, limit = (self._urgent, MAX_BATCH) if self._urgent else (self._deferred, 1)
            batch = [queue.popleft() for _ in range(min(limit, len(queue)))]
            self._is_busy = bool(batch)
            return batch

    def _commit_batch(self, batch: list[Write]) -> None:
        answers: list[tuple[Future[Any], Any]] = []
        with clock.frozen(), self._database.transaction() as session:
            for write, future in batch:
                try:
                    with session.begin_nested():
                        answer = write(session)
                except (InterfaceError, OperationalError):  # affects every write
                    raise
                except Exception as error:
                    future.set_exception(error)
                else:
                    answers.append((future, answer))
        for future, answer in answers:
            future.set_result(answer)


def _log_failure(future: Future[Any]) -> None:
    if error := future.exception():
        log.warning("a deferred write was not stored: %s", error)
