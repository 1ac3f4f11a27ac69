"""Store clicks before Slack has an answer to them, and repeat those that a dead bot began.

Slack never repeats a click, and its listener answers first and then works. So the click is stored
before the listener runs (`StoreClick`) and deleted when it has ended (`finish`). What remains after
a kill is repeated when the bot starts, unless it is older than `MAX_AGE`. A repeat acts once,
because `Click.first_time` is recorded with the effect.

A click that only opens a window is stored too, but cannot be repeated: its trigger id lives three
seconds. It changes nothing, and the person is asked to press once more. A submitted window and a
slash command need no row, because they store their effect before they answer.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from slack_bolt import App, BoltContext, BoltRequest, BoltResponse
from sqlalchemy import delete, select

from bot.services import Services
from bot.slack.interactions import Click
from retention.db import Database
from retention.db.insert import insert_once
from retention.db.tables import StoredClick
from retention.text import gettext, use_language
from workers import languages
from workers.delivery import outbox
from workers.tasks.interface import Post

log = logging.getLogger("retention.bot")

MAX_AGE = timedelta(minutes=10)  # an older click is not repeated
# What the listeners read of a window. Its content may show a customer.
_OF_WINDOW = ("id", "type", "hash", "private_metadata", "callback_id", "state")

_key: ContextVar[str | None] = ContextVar("stored_click", default=None)


class StoreClick:
    """Bolt middleware that commits a click together with other people's."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(
        self, body: dict[str, Any], context: BoltContext, next: Callable[[], BoltResponse]
    ) -> BoltResponse:
        """Store a click, unless it is repeated from the database."""
        key = Click.of(body).key if body.get("type") == "block_actions" else None
        _key.set(key)
        if key and not context.get("is_stored"):
            self._services.group_commit.store(
                lambda session: insert_once(session, StoredClick, key=key, body=needed(body))
            )
        return next()

    def finish(self) -> None:
        """Delete the click of this thread's listener, which has ended."""
        if key := _key.get():
            self._services.group_commit.store(
                lambda session: session.execute(delete(StoredClick).where(StoredClick.key == key))
            )


def needed(body: dict[str, Any]) -> dict[str, Any]:
    """Return what listeners read of a click, without the content of its message or window."""
    stored = {name: part for name, part in body.items() if name != "message"}
    if view := body.get("view"):
        stored["view"] = {name: view[name] for name in _OF_WINDOW if name in view}
    return stored


def repeat_unfinished(app: App, database: Database, before: datetime) -> None:
    """Run the listeners of clicks that were answered before this bot started."""
    with database.reading() as session:
        clicks = session.scalars(
            select(StoredClick).where(StoredClick.at < before).order_by(StoredClick.at)
        ).all()
    for click in clicks:
        if click.at < before - MAX_AGE:
            log.warning("%s is too old to be repeated", click.key)
            _give_up(database, click)
            continue
        log.warning("repeating %s, which the bot did not finish before it stopped", click.key)
        # Its signature was verified when it was stored.
        request = BoltRequest(body=click.body, mode="socket_mode", context={"is_stored": True})
        app.dispatch(request)


def _give_up(database: Database, click: StoredClick) -> None:
    """Delete a click, and tell its person by direct message."""
    user = Click.of(click.body).user
    with database.transaction() as session:
        session.execute(delete(StoredClick).where(StoredClick.key == click.key))
        with use_language(languages.of(session, user)):
            sentence = gettext(
                "The bot stopped while it handled your last click, so the click may have changed "
                "nothing. Please check, and press once more."
            )
        post = Post("job/refused", {"sentence": sentence}, key=f"{click.key}:old", channel=user)
        outbox.put(session, post, default_channel=None)
