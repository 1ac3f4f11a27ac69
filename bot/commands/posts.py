"""`posts`: messages that did not reach Slack and wait for an operator."""

from typing import Any

import click

from bot.commands.tree import TERMINAL, Answer, Call, group, whole
from retention.db.tables import Audit, Outbox
from workers.delivery import outbox


@group("posts", default="list", surfaces=TERMINAL, help="Messages that did not reach Slack.")
def COMMAND() -> None: ...


@COMMAND.command("list", role="admin", surfaces=TERMINAL)
def listing(call: Call) -> Answer:
    """What is held (nobody knows whether Slack took it) or failed (Slack refused it), and why."""
    with call.services.database.reading() as session:
        return Answer(
            "bot/posts",
            {"posts": [_described(one) for one in outbox.stuck(session, call.services.settings)]},
        )


@COMMAND.command("release", role="admin", surfaces=TERMINAL)
@click.argument("post", type=whole())
def release(call: Call, post: int) -> Answer:
    """Try one again; a held one is looked for in its channel first, so it is never shown twice."""
    settings = call.services.settings
    with call.services.database.transaction() as session:
        freed = outbox.release(session, settings, post)
        session.add(
            Audit(
                team_id=settings.team_id, actor=call.user, action="post.release", subject=freed.key
            )
        )
        return Answer("bot/post_released", {"post": _described(freed)})


def _described(one: Outbox) -> dict[str, Any]:
    return {
        "id": one.id,
        "state": one.state,
        "channel": one.channel,
        "created_at": one.created_at.isoformat(),
        "error": one.error,
        "job_id": one.job_id,
        "text": one.payload.get("text", ""),
    }
