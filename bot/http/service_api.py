"""Answer the HTTP routes of the chat with the shop's customers.

``POST /service`` stores a message and a job that handles it, in one transaction. ``GET /service``
returns what was said since. A chat belongs to whoever has its secret token, which the page makes.
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.group_commit import GroupCommit
from bot.http.event_api import (
    Refusal,
    check_key,
    check_page,
    closed,
    preflight_reply,
    respond,
    script_reply,
)
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Reply, Request, json_reply
from bot.services import Queue
from retention import clock
from retention.db import Database, Transaction
from retention.errors import BadInput
from retention.privacy.erased import erased_customers
from retention.service import store
from retention.service.identity import Identity, is_valid
from retention.text import gettext
from workers.customers import chats
from workers.queue import jobs

SERVICE, SCRIPT = "/service", "/service.js"
SCRIPT_FILE = Path(__file__).with_name("service.js")
MAX_BODY_BYTES = 16_000
MAX_CHARACTERS = 1_000  # of a message
MAX_REPLIES = 200  # of one answer
POSTS_PER_MINUTE, READS_PER_MINUTE = 20, 300  # of one address


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    token: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    id: Annotated[str, Field(pattern=r"^[\w-]{8,64}$")]
    text: Annotated[str, Field(min_length=1)]
    identity: Identity | None = None


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
        handler = self._take if request.method == "POST" else self._messages
        return respond(self._settings, request, handler).adding({"Cache-Control": "no-store"})

    def _take(self, request: Request) -> Reply:
        key = self._key(request, self._posts)
        said = _read(request.body)
        if said.identity and not is_valid(key, said.identity, clock.wall()):
            # Not taken as a visitor's message: the page must fetch another signature.
            text = gettext("the customer's signature is wrong or has expired")
            raise Refusal(json_reply(401, {"error": text, "code": "signature"}))
        submission = self._commits.store(lambda session: _store(session, said))
        if submission is not None and submission.created:
            self._queue.wake(submission.job)
        return json_reply(202, {})

    def _messages(self, request: Request) -> Reply:
        self._key(request, self._reads)
        token = request.header("authorization").removeprefix("Bearer ")
        after = parse_qs(request.query).get("after", ["0"])[0]
        if not after.isdecimal() or len(after) > 9:
            raise BadInput(gettext("after is no number of a message"))
        fields = ("seq", "author", "code", "text", "sources")
        with self._database.reading() as session:
            messages = store.messages(session, store.id_of(token), int(after))[:MAX_REPLIES]
            shown = [{name: getattr(each, name) for name in fields} for each in messages]
        return json_reply(200, {"messages": shown})

    def _key(self, request: Request, calls: TokenBuckets) -> str:
        """Check the page, and return the key of signatures."""
        if self._settings.service_key is None:
            raise closed("RETENTION_SERVICE_KEY")
        check_key(self._settings, request)
        check_page(self._settings, request, calls)
        return self._settings.service_key.get_secret_value()


def _store(session: Transaction, said: _Said) -> jobs.Submission | None:
    """Store a message and its job, once for each of its ids."""
    chat = store.begin(session, said.token)
    customer = said.identity.customer if said.identity else None
    if customer and chat.customer_id not in (None, customer):
        text = gettext("this chat belongs to another customer; begin a new one")
        raise Refusal(json_reply(409, {"error": text, "code": "other_customer"}))
    if customer and erased_customers(session).among([customer]):
        customer = None  # an erased customer is not stored again
    chat.customer_id = chat.customer_id or customer
    key, fields = f"{chat.id}:customer:{said.id}", {"is_signed": bool(customer)}
    message = store.add(session, chat, store.CUSTOMER, key, said.text, is_handled=False, **fields)
    return jobs.submit_due(session, *chats.job_of(message)) if message else None


def _read(body: bytes) -> _Said:
    try:
        said = _Said.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "body"
        text = gettext("{field} of the message cannot be read; load the page again")
        raise BadInput(text.format(field=field)) from None
    if len(said.text) > MAX_CHARACTERS:
        text = gettext("the message has {count:,} characters; write at most {limit:,}")
        raise BadInput(text.format(count=len(said.text), limit=MAX_CHARACTERS))
    return said
