"""`models`: which models there are, how good they are, which one is used; promote, compare and roll back."""

from csv import DictWriter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from sqlalchemy import select

from bot.commands.tree import (
    TERMINAL,
    TO_WRITE,
    Answer,
    Call,
    TerminalOption,
    choice,
    group,
    request,
    whole,
)
from retention import feedback, registry
from retention.csv import harmless
from retention.db.audit import history
from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.text import gettext
from workers import models
from workers.requests import ModelCard, Monitor

KIND = click.argument(
    "kind", type=choice("churn", "recommend"), default="churn", metavar="[churn|recommend]"
)
FEEDBACK = ("customer_id", "item_id", "as_of", "model_version", "verdict", "reason", "user", "at")
RANKING = ("ndcg", "recall", "map", "coverage")
LOWER_IS_BETTER = ("log_loss", "brier", "ece")
QUESTION = ("horizon_days", "active_within_days")
NEAR = timedelta(days=1)


@group("models", default="list", help="Which models there are, and which one is used.")
def COMMAND() -> None: ...


@COMMAND.command("list", role="viewer")
@click.option("--kind", type=choice("churn", "recommend"), help="Only these.")
@click.option("--limit", type=whole(1, 50), default=10, metavar="N", help="How many, newest first.")
def listing(call: Call, kind: str | None, limit: int) -> Answer:
    """The newest models, how good they are, and which is the champion."""
    asked = select(ModelVersion).where(ModelVersion.team_id == call.services.settings.team_id)
    if kind:
        asked = asked.where(ModelVersion.kind == kind)
    with call.services.database.reading() as session:
        found = session.scalars(asked.order_by(ModelVersion.created_at.desc()).limit(limit)).all()
    return Answer("bot/models", {"models": [_described(one) for one in found]})


@COMMAND.command("show", role="viewer")
@click.argument("version")
def show(call: Call, version: str) -> Answer:
    """One model: what it learned from, how it was judged, and who did what to it."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        row = registry.find(session, settings, version)
        told = {
            **_described(row),
            **_in_full(row, settings.timezone),
            "history": history(session, settings.team_id, version, "model"),
        }
    return Answer("bot/model", {"model": told})


@COMMAND.command("compare", role="viewer")
@click.argument("version")
@click.argument("other")
def compare(call: Call, version: str, other: str) -> Answer:
    """Two models side by side: figures on the origins on which both were judged, and what differs in how they were made."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        pair = [registry.find(session, settings, one) for one in (version, other)]
    if pair[0].kind != pair[1].kind:
        kinds = " and ".join(f"{one.version} is a {one.kind} model" for one in pair)
        raise BadInput(gettext("{kinds}; compare two of one kind.").format(kinds=kinds))
    told = [{**_described(row), **_in_full(row, settings.timezone)} for row in pair]
    return Answer("bot/models_compared", {"models": told, **_compared(told)})


@COMMAND.command("promote", role="admin")
@click.argument("version")
def promote_(call: Call, version: str) -> Answer:
    """Make a model the champion, whatever it showed."""
    settings = call.services.settings
    database = call.services.database
    seen = models.check_usable(
        database, settings, lambda session: registry.find(session, settings, version)
    )
    with database.transaction() as session:
        row, changed = models.promote(session, settings, version, call.user, seen)
        return Answer(
            "bot/model_promoted", {"model": _described(row), "by": call.user, "changed": changed}
        )


@COMMAND.command("rollback", role="admin")
@KIND
def rollback(call: Call, kind: str) -> Answer:
    """Withdraw the champion and go back to the model before it."""
    settings = call.services.settings
    database = call.services.database
    seen = models.check_usable(
        database, settings, lambda session: registry.previous(session, settings, kind)
    )
    with database.transaction() as session:
        first = call.first_time(session)
        row = models.roll_back(session, settings, kind, call.user, seen) if first else None
        row = row or registry.champion(session, settings, kind)
        return Answer(
            "bot/model_promoted",
            {"model": _described(row) if row else None, "by": call.user, "changed": first},
        )


@COMMAND.command("check", request=Monitor)
def check(call: Call) -> Monitor:
    """Is the churn model in use still good? What came of its predictions, and how far customers have moved."""
    return request(Monitor)


@COMMAND.command("card", request=ModelCard)
@click.argument("version", required=False, metavar="[VERSION]")
@click.option(
    "--html", type=TO_WRITE, cls=TerminalOption, metavar="FILE", help="Write it as a page."
)
@click.option("--pdf", type=TO_WRITE, cls=TerminalOption, metavar="FILE", help="Write it on paper.")
def card_(
    call: Call, version: str | None, html: Path | None = None, pdf: Path | None = None
) -> Answer | ModelCard:
    """The model card: purpose, data, figures, calibration, fairness, limits, examples. By default of the one in use."""
    if call.surface != TERMINAL:
        if version:
            with call.services.database.reading() as session:
                registry.find(
                    session, call.services.settings, version
                )  # nobody waits to hear that there is none
        return request(ModelCard, version=version)
    from retention.lake import Lake
    from retention.reports.card import card

    services = call.services
    found = card(
        Lake.open(services.settings),
        services.database,
        services.settings,
        version=version,
        progress=call.progress,
    )
    if html:
        html.write_text(found.html(services.settings), encoding="utf-8")
    if pdf:
        pdf.write_bytes(found.pdf(services.settings))
    return Answer(
        "model_card", {"card": found.data, "files": [str(one) for one in (html, pdf) if one]}
    )


@COMMAND.command("feedback", role="analyst", surfaces=TERMINAL)
@click.argument("version", required=False, metavar="[VERSION]")
@click.option("--csv", type=TO_WRITE, metavar="FILE", help="Write it to a file.")
def feedback_(call: Call, version: str | None, csv: Path | None) -> Answer:
    """What people said of scores (a signal about labels) and of items, one row a person, customer, item and model."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        rows = [
            {
                "customer_id": one.customer_id,
                "item_id": one.item_id,
                "as_of": one.as_of.isoformat(),
                "model_version": one.model_version,
                "verdict": one.verdict,
                "reason": one.reason,
                "user": one.user_id,
                "at": one.at.isoformat(),
            }
            for one in feedback.listed(session, settings, version)
        ]
        if version and not rows:
            registry.find(session, settings, version)  # or it is told that there is none
    if csv:
        with csv.open("w", encoding="utf-8", newline="") as file:
            writer = DictWriter(file, FEEDBACK)
            writer.writeheader()
            writer.writerows({name: harmless(value) for name, value in row.items()} for row in rows)
    return Answer("bot/feedback", {"feedback": rows, "file": str(csv) if csv else None})


def _described(one: ModelVersion) -> dict[str, Any]:
    return {
        "version": one.version,
        "kind": one.kind,
        "state": one.state,
        "estimator": one.estimator,
        "cutoff": one.cutoff.isoformat(),
        "created_at": one.created_at.isoformat(),
        "created_by": one.created_by,
        "promoted_by": one.promoted_by,
        "promoted_at": one.promoted_at.isoformat() if one.promoted_at else None,
        "metrics": {
            name: value for name, value in one.metrics.items() if isinstance(value, int | float)
        },
    }


def _in_full(one: ModelVersion, zone: str) -> dict[str, Any]:
    """What `list` leaves out; the reference profiles, which only a machine reads, stay out here as well."""
    return {
        "rung": one.rung,
        "horizon_days": one.horizon_days,
        "active_within_days": one.active_within_days,
        "parameters": one.parameters,
        "calibration": one.parameters.get("calibration") or "",
        "features": one.features,
        "seed": one.seed,
        "code_version": one.code_version,
        "data_fingerprint": one.data_fingerprint,
        "sha256": one.sha256,
        "origins": one.metrics.get("origins") or _horizon(one, zone),
        "checks": one.metrics.get("checks") or [],
        "pooled": one.metrics.get("pooled") or {},
        "baselines": one.metrics.get("baselines") or {},
        "base_rate": one.metrics.get("base_rate"),
        "customers": one.metrics.get("customers"),
        "reliability": one.metrics.get("reliability") or [],
    }


def _horizon(one: ModelVersion, zone: str) -> list[dict[str, Any]]:
    """The one horizon on which a recommender was judged, by what it would have learned before: its days are the shop's."""
    if one.kind != "recommend" or "ndcg" not in one.metrics:
        return []
    end = one.cutoff.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        {
            "cutoff": (end.astimezone(UTC) - timedelta(days=one.horizon_days)).isoformat(),
            "customers": one.metrics.get("customers"),
            "base_rate": None,
            "metrics": {name: one.metrics[name] for name in RANKING if name in one.metrics},
            "baselines": one.metrics.get("baselines") or {},
        }
    ]


def _compared(pair: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures on common origins, the better one named; and the facts in which two models differ."""
    first, second = pair
    common = _common(first, second)
    figures = {}
    for name in common[0][0]["metrics"] if common else ():
        values = [
            sum(two[side]["metrics"][name] for two in common) / len(common) for side in (0, 1)
        ]
        sign = 1 if name in LOWER_IS_BETTER else -1
        ahead = (
            None
            if values[0] == values[1]
            else pair[0 if sign * values[0] < sign * values[1] else 1]
        )
        figures[name] = {"values": values, "better": ahead["version"] if ahead else None}
    facts = (
        "kind",
        "estimator",
        "cutoff",
        "horizon_days",
        "active_within_days",
        "code_version",
        "data_fingerprint",
        "seed",
        "state",
        "rung",
        "customers",
    )
    return {
        "origins": [one["cutoff"] for one, _ in common],
        "figures": figures,
        "same_question": all(first[name] == second[name] for name in QUESTION),
        "differ": {
            name: [one[name] for one in pair] for name in facts if first[name] != second[name]
        },
        "features_only": [
            sorted(set(a["features"]) - set(b["features"])) for a, b in (pair, pair[::-1])
        ],
    }


def _common(
    first: dict[str, Any], second: dict[str, Any]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The origins on which both were judged, pair by pair; none where churn means something else for each.

    Who retrains without a cutoff learns up to that very moment, so the origins of two models of one day lie minutes
    apart. They are one origin where the same number of customers was judged and the same share of them had left.
    """
    if any(first[name] != second[name] for name in QUESTION):
        return []
    return [
        (one, other) for one in first["origins"] for other in second["origins"] if _same(one, other)
    ]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    apart = datetime.fromisoformat(one["cutoff"]) - datetime.fromisoformat(other["cutoff"])
    judged = ("customers", "base_rate")
    return not apart or (
        abs(apart) < NEAR and all(one.get(name) == other.get(name) for name in judged)
    )
