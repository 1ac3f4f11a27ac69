"""Recognise opens and clicks that no person made, by the request's headers and time.

Only certain cases count as machines. Image proxies that load a picture when the customer opens the
e-mail are people: Gmail's ``GoogleImageProxy`` and Yahoo's ``YahooMailProxy``.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from retention.db.tables import Send

FASTEST = timedelta(seconds=10)  # after sending; nobody reads an e-mail before
Reason = Literal["mail_privacy", "prefetch", "scanner", "robot", "too_fast", "many_links"]


class _Rule(NamedTuple):
    reason: Reason
    header: str
    pattern: re.Pattern[str]


def _rule(reason: Reason, header: str, pattern: str) -> _Rule:
    return _Rule(reason, header, re.compile(pattern, re.IGNORECASE))


_RULES = (
    # Apple Mail loads all pictures after delivery, and its proxy says no more than this.
    # https://help.socketlabs.com/docs/identifying-apple-mpp-opens-in-notification-api-events
    _rule("mail_privacy", "user-agent", r"Mozilla/5\.0"),
    # Gmail loads pictures ahead with this one. https://www.gmass.co/blog/false-opens-in-gmail/
    _rule("prefetch", "user-agent", r".*Chrome/42\.0\.2311\.135 Safari/537\.36 Edge/12\.246.*"),
    # Browsers and mail programs say that they load ahead.
    # https://wicg.github.io/nav-speculation/prefetch.html#sec-purpose-header
    _rule("prefetch", "sec-purpose", r".*(prefetch|prerender).*"),
    _rule("prefetch", "purpose", r"prefetch|preview"),
    _rule("prefetch", "x-purpose", r"prefetch|preview"),
    _rule("prefetch", "x-moz", r"prefetch"),
    # Gateways that open each link of an e-mail before they let it in.
    _rule(
        "scanner",
        "user-agent",
        r".*(barracuda|mimecast|proofpoint|forcepoint|ironport|symantec|sophos|trend ?micro"
        r"|fortinet|safelinks|urldefense|virustotal).*",
    ),
    # Programs say who runs them (RFC 9110, section 10.1.2), or their names do.
    _rule("robot", "from", r".+"),
    _rule(
        "robot",
        "user-agent",
        r".*(\bbot|bot\b|crawler|spider|headless|curl/|wget/|python|aiohttp|java/|okhttp|axios"
        r"|go-http-client|node-fetch|libwww|ahc/|cloudfront|facebookexternalhit|whatsapp).*",
    ),
)


def machine_reason(headers: Mapping[str, str]) -> Reason | None:
    """Return why a request is no person's; None if nothing says so.

    `headers`: by name in lower case.
    """
    given = {name: text.strip() for name, text in headers.items()}
    if not given.get("user-agent"):
        return "robot"
    found = (rule for rule in _RULES if rule.pattern.fullmatch(given.get(rule.header, "")))
    first = next(found, None)
    return first.reason if first else None


def haste(send: Send, now: datetime) -> Reason | None:
    """Return a reason if nobody could have read the e-mail yet."""
    is_on_its_way = send.sent_at is None and send.state == "sending"
    is_new = send.sent_at is not None and now - send.sent_at < FASTEST
    return "too_fast" if is_on_its_way or is_new else None
