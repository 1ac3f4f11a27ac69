"""Bolt middleware for text, threads and acknowledgements.

Bolt runs a listener in another thread and polls every 10 ms for its acknowledgement. If a listener
fails after its acknowledgement, Bolt 1.30 resets ``ack.response`` to None. A waiting thread that
has not polled yet then lets Slack's three seconds pass. `acknowledged_once` keeps the first answer.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from threading import Lock
from typing import Any

from slack_bolt import Ack, BoltContext, BoltRequest, BoltResponse
from sqlalchemy.exc import SQLAlchemyError

from retention.db import Database
from retention.text import replace_unstorable, set_language
from workers import languages

MAX_REFUSALS = 20_000  # that are remembered; the oldest are forgotten first


def clean_text(request: BoltRequest, next: Callable[[], BoltResponse]) -> BoltResponse:
    """Replace unstorable characters in a request."""
    request.body.update(_clean(request.body))
    return next()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return replace_unstorable(value)
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value


class _FirstAck(Ack):
    """Bolt's ``ack`` with a final first answer."""

    _answer: BoltResponse | None = None

    @property
    def response(self) -> BoltResponse | None:
        return self._answer

    @response.setter
    def response(self, value: BoltResponse | None) -> None:
        self._answer = self._answer or value


def acknowledged_once(context: BoltContext, next: Callable[[], BoltResponse]) -> BoltResponse:
    """Keep the acknowledgement even if the listener fails afterwards."""
    context["ack"] = _FirstAck()
    return next()


class Refusals:
    """Bolt middleware that answers a repeat of a refused request with its refusal.

    A refusal is final. Slack's signature holds for five minutes, and a replay in this time must not
    have the first effect because the person has got a role or the campaign has changed meanwhile.
    Two requests of a person never have equal bodies, because Slack numbers them.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, BoltResponse] = OrderedDict()
        self._lock = Lock()

    def __call__(
        self, request: BoltRequest, context: BoltContext, next: Callable[[], BoltResponse]
    ) -> BoltResponse:
        # Later middleware changes the body, and in Socket Mode there is no raw one.
        body = json.dumps(request.body, sort_keys=True, default=str).encode("utf-8", "replace")
        context["digest"] = digest = hashlib.sha256(body).digest()
        return self._answers.get(digest) or next()

    def add(self, context: BoltContext, answer: BoltResponse | None) -> None:
        """Remember a refused request and its answer; None: it was acknowledged before."""
        if digest := context.get("digest"):
            with self._lock:
                self._answers[digest] = answer or BoltResponse(status=200)
                while len(self._answers) > MAX_REFUSALS:
                    self._answers.popitem(last=False)


class Listeners(ThreadPoolExecutor):
    """Bolt's thread pool for listeners.

    ``after`` runs in the listener's thread when the listener has ended.
    """

    def __init__(self, after: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._after = after

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # The listener speaks the language that the request's middleware set.
        return super().submit(copy_context().run, self._run, fn, *args, **kwargs)

    def _run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            fn(*args, **kwargs)
        finally:
            self._after()


CACHE_SECONDS = 2.0


class SpeakLanguage:
    """Bolt middleware that sets the language.

    The person's choice counts first, then the channel's, then the workspace's. Choices are few and
    change seldom, so they are read together and cached for some seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chosen: dict[str, str] = {}
        self._read_at = float("-inf")

    def __call__(self, body: dict[str, Any], next: Callable[[], BoltResponse]) -> BoltResponse:
        chosen = self._choices()
        scopes = (*scopes_of(body), languages.WORKSPACE) if chosen else ()
        # Bolt calls the listener after this function has returned, so nothing is reset here. Each
        # request sets its own language.
        set_language(_first(chosen, scopes))
        return next()

    def known(self, body: dict[str, Any]) -> str | None:
        """Return the language of a request as read last, without the database."""
        return _first(self._chosen, (*scopes_of(body), languages.WORKSPACE))

    def _choices(self) -> dict[str, str]:
        if time.monotonic() - self._read_at > CACHE_SECONDS:
            self._read_at = time.monotonic()
            # Whether the database answers is for the listener to say.
            with suppress(SQLAlchemyError), self._database.reading() as session:
                self._chosen = languages.all_languages(session)
        return self._chosen


def scopes_of(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the ids of the person and the channel of a request."""
    event = body.get("event") or {}
    user, channel = body.get("user"), body.get("channel")
    person = body.get("user_id") or (user or {}).get("id") or event.get("user")
    container = body.get("container") or {}
    place = (
        body.get("channel_id")
        or (channel or {}).get("id")
        or container.get("channel_id")
        or event.get("channel")
    )
    return tuple(scope for scope in (person, place) if isinstance(scope, str))


def _first(chosen: dict[str, str], scopes: tuple[str, ...]) -> str | None:
    return next((chosen[scope] for scope in scopes if scope in chosen), None)
