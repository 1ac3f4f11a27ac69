"""What the shop's customers reach: the page on which they unsubscribe. It knows them by the signed token alone."""

import logging

from sqlalchemy.exc import SQLAlchemyError

from retention import clock, templating
from retention.db import Database
from retention.outreach import consent
from retention.settings import Settings

log = logging.getLogger(__name__)

UNSUBSCRIBE = "/unsubscribe/"
_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    ),
]

Page = tuple[int, bytes, list[tuple[str, str]]]


def asked(settings: Settings, path: str) -> Page:
    """The page with the button, for a link that we signed. Nothing changes yet: mail scanners follow links too."""
    known = (
        consent.read_unsubscribe_token(settings.keys, path.removeprefix(UNSUBSCRIBE)) is not None
    )
    return _page(settings, 200 if known else 404, "ask" if known else "unknown")


def unsubscribe(database: Database, settings: Settings, path: str) -> Page:
    """Withdraw the consent of whom the token names. Asking again is harmless, and answered alike."""
    send_id = consent.read_unsubscribe_token(settings.keys, path.removeprefix(UNSUBSCRIBE))
    if send_id is None:
        return _page(settings, 404, "unknown")
    try:
        with database.transaction() as session:
            consent.unsubscribe(session, settings, send_id, clock.now())
    except SQLAlchemyError as error:
        log.error("cannot store that send %s unsubscribes: %s", send_id, error)
        return _page(settings, 503, "later")  # never say that it is done before it is stored
    return _page(settings, 200, "done")


def _page(settings: Settings, status: int, what: str) -> Page:
    html = templating.html("campaigns/unsubscribe.html.j2", what=what, shop=settings.shop)
    return status, html.encode(), _HEADERS
