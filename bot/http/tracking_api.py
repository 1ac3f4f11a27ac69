"""Answer the links and the pixel of our e-mails: ``GET /c/TOKEN`` and ``GET /o/TOKEN``.

A click is committed before its page opens. Without a database the page still opens if this process
opened it before.
"""

import logging
from base64 import b64decode
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from bot.group_commit import GroupCommit
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Reply, Request
from retention import clock
from retention.db import Database, Transaction
from retention.outreach import tracking

log = logging.getLogger(__name__)

T = TypeVar("T")

CLICK, OPEN = tracking.CLICK_PATH, tracking.OPEN_PATH
COUNTED_PER_MINUTE = 20  # of one e-mail; others open their page and are not counted
MAX_PAGES = 10_000  # remembered
_PIXEL = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_HEADERS = [
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Robots-Tag", "noindex"),
]


class TrackingApi:
    """The routes of opens and clicks. A wrong token reveals nothing.

    `page`: returns the answer with a status and a page of `unsubscribe_page`, by its name.
    """

    def __init__(self, database: Database, page: Callable[[Request, int, str], Reply]) -> None:
        self._database, self._page = database, page
        self._commits = GroupCommit(database)
        self._pages = dict[int, str]()  # by link
        self.visits = TokenBuckets(COUNTED_PER_MINUTE, 60)

    def click(self, request: Request) -> Reply:
        """Store a click, then open its page."""
        numbers = tracking.read_click(self._database.settings.keys, _token(request, CLICK))
        if numbers is None:
            return self._page(request, 404, "unknown")
        send_id, link = numbers
        counts = self._counts(request, send_id)

        def visit(session: Transaction) -> str | None:
            page = tracking.find_page(session, send_id, link)
            if page is None:
                return None
            self._remember(link, page)
            if counts:
                tracking.record(session, send_id, link, request.headers, clock.now())
            return tracking.own_page(session, send_id, page)

        try:
            url = self._store(visit) if counts else self._read(visit)
        except SQLAlchemyError as error:
            log.error("cannot store a click of send %s: %s", send_id, type(error).__name__)
            url = self._pages.get(link, "")
        if url is None:
            return self._page(request, 404, "unknown")
        return _redirect(url) if url else self._page(request, 503, "later")

    def open(self, request: Request) -> Reply:
        """Store that an e-mail was opened, and return the picture in any case."""
        send_id = tracking.read_open(self._database.settings.keys, _token(request, OPEN))
        if send_id is None:
            return self._page(request, 404, "unknown")
        if self._counts(request, send_id):
            visit = partial(
                tracking.record, send_id=send_id, link=0, headers=request.headers, now=clock.now()
            )
            try:
                self._store(visit)
            except SQLAlchemyError as error:
                log.error("cannot store an open of send %s: %s", send_id, type(error).__name__)
        return Reply(200, _PIXEL, [("Content-Type", "image/gif"), *_HEADERS])

    def _counts(self, request: Request, send_id: int) -> bool:
        """Whether a request counts: no check of a link (HEAD), and not one of a flood."""
        return request.method != "HEAD" and self.visits.take(str(send_id))

    def _store(self, write: Callable[[Transaction], T]) -> T:
        """Commit a write; if the database does not take it, once more when nobody waits."""
        try:
            return self._commits.store(write)
        except SQLAlchemyError:
            self._commits.defer(write)
            raise

    def _read(self, query: Callable[[Transaction], str | None]) -> str | None:
        with self._database.reading() as session:
            return query(session)

    def _remember(self, link: int, page: str) -> None:
        if len(self._pages) < MAX_PAGES:
            self._pages[link] = tracking.header_url(page)


def _redirect(url: str) -> Reply:
    return Reply(302, b"", [("Location", url), *_HEADERS])


def _token(request: Request, path: str) -> str:
    return request.path.removeprefix(path)
