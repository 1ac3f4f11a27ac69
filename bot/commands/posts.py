"""`posts`: list and release messages that did not reach Slack."""

from typing import Any

import click

from bot.commands.tree import TERMINAL, Answer, Call, group, integer
from retention import clock
from retention.db.tables import Audit, Outbox
from retention.text import gettext
from workers.delivery import outbox


@group(
    "posts", default="list", surfaces=TERMINAL, help=gettext("Messages that did not reach Slack.")
)
def COMMAND() -> None: ...


@COMMAND.command(
    "list",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "What is held (nobody knows whether Slack took it) or failed (Slack refused it), and why."
    ),
)
def listing(call: Call) -> Answer:
    """List held and failed messages."""
    with call.services.database.reading() as session:
        return Answer(
            "bot/posts",
            {"posts": [_described(post) for post in outbox.stuck(session, call.services.settings)]},
        )


@COMMAND.command(
    "release",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Try one again; a held one is looked for in its channel first, so it is never shown twice."
    ),
)
@click.argument("post", type=integer())
def release(call: Call, post: int) -> Answer:
    """Retry a message."""
    settings = call.services.settings
    with call.services.database.transaction() as session:
        released = outbox.release(session, settings, post)
        session.add(
            Audit(
                team_id=settings.team_id,
                actor=call.user,
                action="post.release",
                subject=released.key,
            )
        )
        return Answer("bot/post_released", {"post": _described(released)})


def _described(post: Outbox) -> dict[str, Any]:
    return {
        "id": post.id,
        "state": post.state,
        "channel": post.channel,
        "created_at": clock.business(post.created_at).isoformat(),  # the desk's clock
        "error": post.error,
        "job_id": post.job_id,
        "text": post.payload.get("text", ""),
    }
