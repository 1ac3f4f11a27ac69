"""`models`: which models there are, how good they are, and which one is used."""

from typing import Any

import click
from sqlalchemy import select

from bot.commands.tree import Answer, Call, choice, group
from retention.db.tables import Audit, ModelVersion
from retention.errors import BadInput


@group("models", default="list", help="Which models there are, and which one is used.")
def COMMAND() -> None: ...


@COMMAND.command("list", role="viewer")
@click.option("--kind", type=choice("churn", "recommend"), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 50), default=10, metavar="N", help="How many, newest first.")
def listing(call: Call, kind: str | None, limit: int) -> Answer:
    """The newest models, how good they are, and which is the champion."""
    asked = select(ModelVersion).where(ModelVersion.team_id == call.services.settings.team_id)
    if kind:
        asked = asked.where(ModelVersion.kind == kind)
    with call.services.database.reading() as session:
        found = session.scalars(asked.order_by(ModelVersion.created_at.desc()).limit(limit)).all()
    return Answer("bot/models", {"models": [_described(one) for one in found]})


@COMMAND.command("promote", role="admin")
@click.argument("version")
def promote_(call: Call, version: str) -> Answer:
    """Make a model the champion; an earlier one's version rolls back to it."""
    from retention.registry import promote

    settings = call.services.settings
    with call.services.database.transaction() as session:
        row = session.get(ModelVersion, version)
        if row is None or row.team_id != settings.team_id:
            raise BadInput(f"There is no model {version!r}; see `/retention models`.")
        if row.state != "champion":
            promote(session, settings, row, call.user)
            session.add(
                Audit(team_id=settings.team_id, actor=call.user, action="model.promote", subject=version)
            )
        return Answer("bot/model_promoted", {"model": _described(row), "by": call.user})


def _described(one: ModelVersion) -> dict[str, Any]:
    return {
        "version": one.version, "kind": one.kind, "state": one.state, "estimator": one.estimator,
        "cutoff": one.cutoff.isoformat(), "created_at": one.created_at.isoformat(),
        "created_by": one.created_by, "metrics": one.metrics,
    }  # fmt: skip
