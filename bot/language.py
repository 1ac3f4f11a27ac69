"""Answer each request in the language of its person."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from slack_bolt import BoltResponse
from sqlalchemy.exc import SQLAlchemyError

from bot.services import Services
from retention.text import set_language
from workers import languages

CACHE_SECONDS = 2.0


class SpeakLanguage:
    """Bolt middleware that sets the language.

    The person's choice counts first, then the channel's, then the workspace's. Choices are few and
    change seldom, so they are read together and cached for some seconds.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._chosen: dict[str, str] = {}
        self._read_at = float("-inf")

    def __call__(self, body: dict[str, Any], next: Callable[[], BoltResponse]) -> BoltResponse:
        chosen = self._choices()
        scopes = (*scopes_of(body), languages.WORKSPACE) if chosen else ()
        # Bolt calls the listener after this function has returned, so nothing is reset here. Each
        # request sets its own language.
        set_language(_first(chosen, scopes))
        return next()

    def _choices(self) -> dict[str, str]:
        if time.monotonic() - self._read_at > CACHE_SECONDS:
            self._read_at = time.monotonic()
            # Whether the database answers is for the listener to say.
            with suppress(SQLAlchemyError), self._services.database.reading() as session:
                self._chosen = languages.all_languages(session, self._services.settings)
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
