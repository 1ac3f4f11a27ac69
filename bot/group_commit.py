"""Storing what many people ask at the same moment: one transaction, one wait for the disk, for all of them."""

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
from retention.errors import Refused

log = logging.getLogger("retention.bot")

T = TypeVar("T")
Write = tuple[Callable[[Session], Any], Future[Any]]

MOST = 50  # stored together at most
QUIET_SECONDS = 0.03  # nobody came for so long: time for what nobody waits for


class Intake:
    """A group commit: one thread stores for all who come while the disk is busy with the batch before.

    SQLite has one writer and waits for the disk at each commit: without this, fifty people at once wait in line for
    fifty waits. What nobody waits for is stored when nobody waits.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._urgent: deque[Write] = deque()
        self._later: deque[Write] = deque()
        self._changed = Condition()
        self._busy = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="intake")

    def store(self, write: Callable[[Session], T]) -> T:
        """Run ``write`` in a transaction and return what it returns, once that is committed.

        Parameters
        ----------
        write : callable
            May run twice (in a batch that failed, then alone). Where it refuses, it must do so before it writes.
        """
        mine: Future[T] = Future()
        self._add(self._urgent, write, mine)
        return mine.result()

    def later(self, write: Callable[[Session], Any]) -> None:
        """Run ``write`` in a transaction when nobody waits; what goes wrong is logged. Lost if the process dies."""
        mine: Future[Any] = Future()
        mine.add_done_callback(_log_failure)
        self._add(self._later, write, mine)

    def _add(
        self, line: deque[Write], write: Callable[[Session], Any], future: Future[Any]
    ) -> None:
        with self._changed:
            line.append((write, future))
            self._changed.notify()
            if not self._busy:
                self._busy = True
                self._writer.submit(self._store_all)

    def _store_all(self) -> None:
        while batch := self._next():
            try:
                self._together(batch)
            except (
                InterfaceError,
                OperationalError,
            ) as error:  # the database is away, for all of them
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            except Exception:  # one of them: each alone gets its own answer
                for write, future in batch:
                    if not future.done():
                        self._alone(write, future)

    def _next(self) -> list[Write]:
        with self._changed:
            if not self._urgent and self._later:
                self._changed.wait(QUIET_SECONDS)
            line, most = (self._urgent, MOST) if self._urgent else (self._later, 1)
            batch = [line.popleft() for _ in range(min(most, len(line)))]
            self._busy = bool(batch)
            return batch

    def _together(self, batch: list[Write]) -> None:
        answers: list[tuple[Future[Any], Any]] = []
        with clock.held(), self._database.transaction() as session:
            for write, future in batch:
                try:
                    answers.append((future, write(session)))
                except Refused as error:
                    future.set_exception(error)
        for future, answer in answers:
            future.set_result(answer)

    def _alone(self, write: Callable[[Session], Any], future: Future[Any]) -> None:
        try:
            with self._database.transaction() as session:
                answer = write(session)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(answer)


def _log_failure(future: Future[Any]) -> None:
    if error := future.exception():
        log.warning("not stored: %s", error)
