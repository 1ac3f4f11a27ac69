"""`posts`: list and release messages that did not reach Slack."""

from typing import Any

import click

from bot.commands.parameters import integer
from bot.commands.tree import Answer, Call, fields_of, group
from retention import clock
from retention.db.audit import record
from retention.db.tables import Outbox
from retention.text import gettext
from workers.delivery import outbox


@group("posts", default="list")
def COMMAND() -> None: ...


@COMMAND.command(
    "list",
    role="admin",
    help=gettext(
        "What is held (nobody knows whether Slack took it) or failed (Slack refused it), and why."
    ),
)
def listing(call: Call) -> Answer:
    """List held and failed messages."""
    with call.database.reading() as session:
        return Answer("bot/posts", {"posts": [_described(post) for post in outbox.stuck(session)]})


@COMMAND.command(
    "release",
    role="admin",
    help=gettext(
        "Try one again; a held one is looked for in its channel first, so it is never shown twice."
    ),
)
@click.argument("post", type=integer())
def release(call: Call, post: int) -> Answer:
    """Retry a message."""
    with call.database.transaction() as session:
        released = outbox.release(session, post)
        record(session, call.user, "post.release", released.key, clock.now(), {})
        return Answer("bot/post_released", {"post": _described(released)})


def _described(post: Outbox) -> dict[str, Any]:
    return {
        **fields_of(post, "id", "state", "channel", "error", "job_id"),
        "created_at": clock.business(post.created_at).isoformat(),  # the desk's clock
        "text": post.payload.get("text", ""),
    }
