"""Answer the HTTP routes of the chat with the shop's customers.

``POST /service`` stores a message and a job that handles it, in one transaction. ``GET /service``
returns what was said since. A chat belongs to whoever has its secret token, which the page makes.
"""

import logging
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from bot.group_commit import GroupCommit
from bot.http import requests
from bot.http.event_api import (
    Refusal,
    client_address,
    cors_headers,
    foreign_origin,
    is_one_of,
    preflight_reply,
    script_reply,
)
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Reply, Request, error_reply, json_reply, noted
from bot.services import Queue
from retention import clock
from retention.db import Database, Transaction
from retention.privacy.erased import erased_customers
from retention.service import identity, store
from retention.service.identity import Identity
from retention.text import gettext
from workers.customers import chats
from workers.queue.jobs import Submission

log = logging.getLogger(__name__)

SERVICE, SCRIPT = "/service", "/service.js"
SCRIPT_FILE = Path(__file__).with_name("service.js")
MAX_BODY_BYTES = 16_000
MAX_CHARACTERS = 1_000  # of a message
MAX_REPLIES = 200  # of one answer
POSTS_PER_MINUTE, READS_PER_MINUTE = 20, 300  # of one address
_TOKEN = re.compile(r"[0-9a-f]{64}")


class _Identity(BaseModel):
    model_config = ConfigDict(extra="forbid")
    customer: str = Field(min_length=1, max_length=255)
    expires: int = Field(ge=0, le=10**11)
    signature: str = Field(max_length=64)


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    token: str = Field(pattern=f"^{_TOKEN.pattern}$")
    id: Annotated[str, Field(pattern=r"^[\w-]{8,64}$")]
    text: str = Field(min_length=1)
    identity: _Identity | None = None


class ServiceApi:
    """The chat of one installation. Without ``RETENTION_SERVICE_KEY`` it answers 404."""

    def __init__(self, database: Database) -> None:
        self._settings, self._database = database.settings, database
        self._commits, self._queue = GroupCommit(database), Queue(database.settings)
        self._posts = TokenBuckets(POSTS_PER_MINUTE, 60)
        self._reads = TokenBuckets(READS_PER_MINUTE, 60)

    def preflight(self, request: Request) -> Reply:
        """Answer a browser that asks whether a page may call."""
        return preflight_reply(self._settings, request, "GET, POST")

    def script(self, request: Request) -> Reply:
        """Return the chat for the shop's pages."""
        return script_reply(SCRIPT_FILE)

    def handle(self, request: Request) -> Reply:
        """Take a message, or return the messages since a number."""
        try:
            self._check_page(request)
            reply = self._take(request) if request.method == "POST" else self._messages(request)
        except Refusal as refusal:
            reply = refusal.reply
        except SQLAlchemyError as error:
            log.error("the chat cannot reach the database: %s", type(error).__name__)
            text = gettext("the message could not be stored; please send it again")
            reply = error_reply(503, text, {"Retry-After": "5"})
        if reply.status == 401:
            noted(requests.UNVERIFIED, SERVICE, reply)
        headers = {"Cache-Control": "no-store", **cors_headers(self._settings, request)}
        return reply.adding(headers)

    def _check_page(self, request: Request) -> None:
        if self._settings.service_key is None or not self._settings.events_public_key:
            text = gettext("there is no chat here: {setting} is not set")
            missing = "RETENTION_SERVICE_KEY"
            if self._settings.service_key is not None:
                missing = "RETENTION_EVENTS_PUBLIC_KEY"
            raise Refusal(error_reply(404, text.format(setting=missing)))
        if not cors_headers(self._settings, request):
            raise Refusal(error_reply(403, foreign_origin(request)))
        if not is_one_of(_parameter(request, "key"), self._settings.events_public_key):
            raise Refusal(error_reply(401, gettext("the public key is wrong")))
        buckets = self._posts if request.method == "POST" else self._reads
        if refusal := buckets.refusal(client_address(request)):
            raise Refusal(refusal)

    # ------------------------------------------------------------ messages of the customer

    def _take(self, request: Request) -> Reply:
        said = _read(request.body)
        customer = self._signed_customer(said.identity)
        submission, seq = self._commits.store(lambda session: _store(session, said, customer))
        if submission is not None and submission.created:
            self._queue.wake(submission.job)
        return json_reply(202, {"seq": seq})

    def _signed_customer(self, claimed: _Identity | None) -> str | None:
        """Return whose signature is valid. A wrong one is refused: the page must fetch another."""
        key = self._settings.service_key
        if claimed is None or key is None:
            return None
        signed = Identity(claimed.customer, claimed.expires, claimed.signature)
        if not identity.is_valid(key.get_secret_value(), signed, clock.wall()):
            text = gettext("the customer's signature is wrong or has expired")
            raise Refusal(json_reply(401, {"error": text, "code": "signature"}))
        return claimed.customer

    # ------------------------------------------------------------ answers

    def _messages(self, request: Request) -> Reply:
        scheme, _, token = request.header("authorization").partition(" ")
        after = _parameter(request, "after") or "0"
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            raise Refusal(error_reply(401, gettext("the chat's token is missing")))
        if not after.isdecimal() or len(after) > 9:
            raise Refusal(error_reply(400, gettext("after is no number of a message")))
        with self._database.reading() as session:
            chat = store.find(session, token)
            messages = store.since(session, chat, int(after))[:MAX_REPLIES] if chat else ()
            state = chat.state if chat else store.OPEN
        shown = [
            {
                "seq": each.seq,
                "author": each.author,
                "code": each.code,
                "text": each.text,
                "sources": each.sources,
            }
            for each in messages
        ]
        return json_reply(200, {"state": state, "messages": shown})


def _store(
    session: Transaction, said: _Said, customer: str | None
) -> tuple[Submission | None, int]:
    """Store a message and its job, once for each of its ids."""
    chat = store.begin(session, said.token)
    if customer is not None:
        if chat.customer_id not in (None, customer):
            text = gettext("this chat belongs to another customer; begin a new one")
            raise Refusal(json_reply(409, {"error": text, "code": "other_customer"}))
        if chat.customer_id is None and erased_customers(session).among([customer]):
            customer = None  # an erased customer is not stored again
        chat.customer_id = chat.customer_id or customer
    key = f"{chat.id}:customer:{said.id}"
    fields: dict[str, Any] = {"is_signed": customer is not None, "is_handled": False}
    message = store.add(session, chat, store.CUSTOMER, key, said.text, **fields)
    if message is None:
        return None, store.seq_of(session, key)
    return chats.submit(session, chat.id, message.seq), message.seq


def _read(body: bytes) -> _Said:
    try:
        said = _Said.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "body"
        text = gettext("{field} of the message cannot be read; load the page again")
        raise Refusal(error_reply(400, text.format(field=field))) from None
    if len(said.text) > MAX_CHARACTERS:
        text = gettext("the message has {count:,} characters; write at most {limit:,}")
        text = text.format(count=len(said.text), limit=MAX_CHARACTERS)
        raise Refusal(json_reply(413, {"error": text, "code": "too_long"}))
    return said


def _parameter(request: Request, name: str) -> str:
    return parse_qs(request.query).get(name, [""])[0]
