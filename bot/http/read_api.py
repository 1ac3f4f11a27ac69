"""Answer the read API: customers' scores and the members of audiences.

It reads only the database. A nightly job publishes what it shows (`workers.schedule`).
"""

import logging
import re
from pathlib import Path
from urllib.parse import parse_qs

from sqlalchemy.exc import SQLAlchemyError

from bot.http import requests
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Reply, Request, error_reply, json_reply, noted
from retention import clock
from retention.audiences import store
from retention.connect.platforms import profiles
from retention.connect.readers import api_keys
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.errors import BadInput
from retention.privacy import ledger, pseudonym
from retention.text import gettext

log = logging.getLogger(__name__)

CUSTOMERS, AUDIENCES, OPENAPI = "/v1/customers/", "/v1/audiences/", "/v1/openapi.json"
COUNTS = "/v1/audience-counts"
PREFIXES = (CUSTOMERS, AUDIENCES)
OPENAPI_FILE = Path(__file__).with_name("openapi.json")
CALLS_PER_MINUTE = 120  # of one key
MAX_ID, MAX_LIMIT = 255, 1000
_CURSOR = re.compile(r"(\d{1,18}):(.{0,255})", re.DOTALL)


class ReadApi:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.calls = TokenBuckets(CALLS_PER_MINUTE, 60)

    def openapi(self, request: Request) -> Reply:
        """Return the API's description (OpenAPI 3.1)."""
        return Reply(200, OPENAPI_FILE.read_bytes(), [("Content-Type", "application/json")])

    def handle(self, request: Request) -> Reply:
        """Answer one call."""
        try:
            reply = self._answer(request)
        except BadInput as error:
            reply = error_reply(400, str(error))
        except SQLAlchemyError as error:
            log.error("cannot answer the read API: %s", type(error).__name__)
            text = gettext("the database does not answer; send this again")
            reply = error_reply(503, text, {"Retry-After": "5"})
        return reply.adding({"Cache-Control": "no-store"})

    def _answer(self, request: Request) -> Reply:
        path = request.path
        prefix = next((each for each in PREFIXES if path.startswith(each)), COUNTS)
        with self._database.reading() as session:
            key = api_keys.verified(session, request.header("authorization"))
        if key is None:
            text = gettext("send a valid key in the header Authorization: Bearer …")
            reply = error_reply(401, text, {"WWW-Authenticate": "Bearer"})
            return noted(requests.UNVERIFIED, prefix, reply)
        if refusal := self.calls.refusal(key.id):
            return refusal
        with self._database.transaction() as session:
            if prefix == CUSTOMERS:
                return _customer(session, key.name, path.removeprefix(CUSTOMERS))
            if prefix == COUNTS:
                return _counts(session, key.name)
            return _audience(session, key.name, path.removeprefix(AUDIENCES), request.query)


def _customer(session: Transaction, key: str, customer_id: str) -> Reply:
    is_id = 0 < len(customer_id) <= MAX_ID and "\0" not in customer_id
    found = profiles.customer_profile(session, customer_id) if is_id else None
    if found is None:
        return error_reply(404, gettext("there is no such customer"))
    subject = pseudonym(session.settings.key, found["customer_id"])
    record(session, f"key:{key}", "api.customer", subject, clock.now(), {})
    return json_reply(200, found)


def _counts(session: Transaction, key: str) -> Reply:
    """Return the sizes of the audiences as they were released; a reader never spends the budget."""
    now = clock.now()
    found = ledger.find(session, ledger.AUDIENCES, ledger.week_of(session, now))
    if found is None:
        text = gettext("no counts are released this week; /retention privacy release releases them")
        return error_reply(404, text)
    record(session, f"key:{key}", "api.counts", found.period, now, {})
    names = ("name", "value", "low", "high")
    counts = [{name: figure[name] for name in names} for figure in found.figures]
    released = {"week": found.period, "released_at": found.at.isoformat(), "audiences": counts}
    return json_reply(200, released)


def _audience(session: Transaction, key: str, name: str, query: str) -> Reply:
    try:
        audience = store.find(session, name[:MAX_ID].replace("\0", ""))
    except BadInput as error:
        return error_reply(404, str(error))
    limit, (published, after) = _paging(query)
    snapshot = profiles.newest_snapshot(session)
    if snapshot is None:
        text = gettext("audiences are not published yet; this takes some minutes")
        return error_reply(503, text, {"Retry-After": "60"})
    if published not in (None, snapshot.id):
        text = gettext("the audience was published anew; begin again without a cursor")
        return error_reply(410, text)
    total, members = profiles.audience_page(session, snapshot, audience.name, after, limit)
    details = {"customers": len(members)}
    record(session, f"key:{key}", "api.audience", audience.name, clock.now(), details)
    page = {
        "name": audience.name,
        "as_of": snapshot.as_of.isoformat(),
        "customers": total,
        "members": members,
        "next_cursor": None if len(members) < limit else f"{snapshot.id}:{members[-1]}",
    }
    return json_reply(200, page)


def _paging(query: str) -> tuple[int, tuple[int | None, str]]:
    """Return the limit and the cursor of a query string: publication and last customer."""
    given = parse_qs(query, keep_blank_values=True)
    typed = given.get("limit", [str(MAX_LIMIT)])[-1]
    is_number = typed.isascii() and typed.isdecimal() and len(typed) <= 9
    if not is_number or not 1 <= int(typed) <= MAX_LIMIT:
        text = gettext("limit is {value!r}; give a whole number from 1 to {most}")
        raise BadInput(text.format(value=typed[:40], most=MAX_LIMIT))
    if "cursor" not in given:
        return int(typed), (None, "")
    form = _CURSOR.fullmatch(given["cursor"][-1])
    if form is None or "\0" in form[2]:
        raise BadInput(gettext("cursor is not one of ours; send next_cursor of the page before"))
    return int(typed), (int(form[1]), form[2])
