"""Answer the read API: customers' scores and the members of audiences.

It reads only the database. A nightly job publishes what it shows (`workers.publishing`).
"""

import logging
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.rate_limit import TokenBuckets
from retention import clock
from retention.audiences import store
from retention.connect import api_keys, profiles
from retention.db import Database
from retention.db.audit import record
from retention.errors import BadInput
from retention.privacy import pseudonym
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)

CUSTOMERS, AUDIENCES, OPENAPI = "/v1/customers/", "/v1/audiences/", "/v1/openapi.json"
PREFIXES = (CUSTOMERS, AUDIENCES)
CALLS_PER_MINUTE = 120  # of one key
MAX_ID, MAX_LIMIT = 255, 1000
_CURSOR = re.compile(r"(\d{1,18}):(.{0,255})", re.DOTALL)

Answer = tuple[int, dict[str, Any], dict[str, str]]


class ReadApi:
    """The read API of one installation.

    Parameters
    ----------
    settings : Settings
    database : Database
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self.calls = TokenBuckets(CALLS_PER_MINUTE, 60)

    @cached_property
    def openapi(self) -> bytes:
        """The API's description (OpenAPI 3.1)."""
        return (Path(__file__).parent / "openapi.json").read_bytes()

    def handle(self, path: str, query: str, headers: Mapping[str, str]) -> Answer:
        """Answer one call.

        Parameters
        ----------
        path, query : str
            Of the request; the path is decoded.
        headers : mapping
            By lower-case name.

        Returns
        -------
        tuple
            HTTP status, JSON object and further headers.
        """
        try:
            with self._database.reading() as session:
                key = api_keys.verified(session, self._settings, headers.get("authorization", ""))
            if key is None:
                text = gettext("send a valid key in the header Authorization: Bearer …")
                return 401, {"error": text}, {"WWW-Authenticate": "Bearer"}
            if not self.calls.take(key.id):
                wait = max(self.calls.wait_seconds(key.id), 1)
                text = gettext("too many calls; send this again in {seconds} s")
                return 429, {"error": text.format(seconds=wait)}, {"Retry-After": str(wait)}
            with self._database.transaction() as session:
                if path.startswith(CUSTOMERS):
                    return self._customer(session, key.name, path.removeprefix(CUSTOMERS))
                return self._audience(session, key.name, path.removeprefix(AUDIENCES), query)
        except SQLAlchemyError as error:
            log.error("cannot answer the read API: %s", type(error).__name__)
            text = gettext("the database does not answer; send this again")
            return 503, {"error": text}, {"Retry-After": "5"}

    def _customer(self, session: Session, key: str, customer_id: str) -> Answer:
        found = (
            profiles.customer_profile(session, self._settings, customer_id)
            if 0 < len(customer_id) <= MAX_ID and "\0" not in customer_id
            else None
        )
        if found is None:
            return 404, {"error": gettext("there is no such customer")}, {}
        subject = pseudonym(self._settings.key, found["customer_id"])
        self._record(session, key, "api.customer", subject, {})
        return 200, found, {}

    def _audience(self, session: Session, key: str, name: str, query: str) -> Answer:
        try:
            audience = store.find(session, self._settings, name[:MAX_ID].replace("\0", ""))
        except BadInput as error:
            return 404, {"error": str(error)}, {}
        try:
            limit, cursor = _paging(query)
        except BadInput as error:
            return 400, {"error": str(error)}, {}
        snapshot = profiles.newest_snapshot(session, self._settings)
        if snapshot is None:
            text = gettext("audiences are not published yet; this takes some minutes")
            return 503, {"error": text}, {"Retry-After": "60"}
        after = ""
        if cursor is not None:
            if cursor[0] != snapshot.id:
                text = gettext("the audience was published anew; begin again without a cursor")
                return 410, {"error": text}, {}
            after = cursor[1]
        total, members = profiles.audience_page(session, snapshot, audience.name, after, limit)
        is_last = len(members) < limit
        self._record(session, key, "api.audience", audience.name, {"customers": len(members)})
        page = {
            "name": audience.name,
            "as_of": snapshot.as_of.isoformat(),
            "customers": total,
            "members": members,
            "next_cursor": None if is_last else f"{snapshot.id}:{members[-1]}",
        }
        return 200, page, {}

    def _record(
        self, session: Session, key: str, action: str, subject: str, details: dict[str, Any]
    ) -> None:
        record(session, self._settings, f"key:{key}", action, subject, clock.now(), details)


def _paging(query: str) -> tuple[int, tuple[int, str] | None]:
    """Return the limit and the cursor of a query string.

    Raises
    ------
    BadInput
        One of them is not usable; its field is named.
    """
    given = parse_qs(query, keep_blank_values=True)
    typed = given.get("limit", [str(MAX_LIMIT)])[-1]
    if not (typed.isascii() and typed.isdecimal() and 1 <= int(typed[:9]) <= MAX_LIMIT):
        raise BadInput(
            gettext("limit is {value!r}; give a whole number from 1 to {most}").format(
                value=typed[:40], most=MAX_LIMIT
            ),
            field="limit",
        )
    if "cursor" not in given:
        return int(typed), None
    form = _CURSOR.fullmatch(given["cursor"][-1])
    if form is None or "\0" in form[2]:
        raise BadInput(
            gettext("cursor is not one of ours; send next_cursor of the page before"),
            field="cursor",
        )
    return int(typed), (int(form[1]), form[2])
