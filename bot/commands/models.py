"""`models`: list, compare, promote and roll back models."""

from csv import DictWriter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from sqlalchemy import select

from bot.commands.parameters import TO_WRITE, choice, html_option, list_length, option
from bot.commands.tree import TERMINAL, Answer, Call, fields_of, group, request
from retention import feedback, registry
from retention.csv_text import escape_formulas
from retention.db.audit import history
from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.reports.card import card as build_card
from retention.text import gettext
from workers import model_decisions
from workers.job_requests import ModelCard, Monitor

KIND = click.argument(
    "kind", type=choice("churn", "recommend"), default="churn", metavar="[churn|recommend]"
)
FEEDBACK = ("customer_id", "item_id", "as_of", "model_version", "verdict", "reason")
RANKING_METRICS = ("ndcg", "recall", "map", "coverage")
LOWER_IS_BETTER = ("log_loss", "brier", "ece")
CHURN_DEFINITION = ("horizon_days", "active_within_days")
MAX_ORIGIN_GAP = timedelta(days=1)


COMMAND = group("models", default="list")


@COMMAND.command(
    "list",
    role="viewer",
    help=gettext("The newest models, how good they are, and which is the champion."),
)
@option("--kind", gettext("Only these."), choice("churn", "recommend"))
@list_length("--limit", 50, gettext("How many, newest first."))
def listing(call: Call, kind: str | None, limit: int) -> Answer:
    """List the newest models."""
    query = select(ModelVersion).where(ModelVersion.team_id == call.settings.team_id)
    if kind:
        query = query.where(ModelVersion.kind == kind)
    with call.database.reading() as session:
        versions = session.scalars(
            query.order_by(ModelVersion.created_at.desc()).limit(limit)
        ).all()
    return Answer("bot/models", {"models": [_described(version) for version in versions]})


@COMMAND.command(
    "show",
    role="viewer",
    help=gettext("One model: what it learned from, how it was judged, and who did what to it."),
)
@click.argument("version")
def show(call: Call, version: str) -> Answer:
    """Show a model and its history."""
    settings = call.settings
    with call.database.reading() as session:
        row = registry.find(session, version)
        details = {
            **_described(row),
            **_details(row, settings.timezone),
            "history": history(session, settings.team_id, version, "model"),
        }
    return Answer("bot/model", {"model": details})


@COMMAND.command(
    "compare",
    role="viewer",
    help=gettext(
        "Two models side by side: figures on the origins on which both were judged, and"
        " what differs in how they were made."
    ),
)
@click.argument("version")
@click.argument("other")
def compare(call: Call, version: str, other: str) -> Answer:
    """Compare two models of one kind."""
    settings = call.settings
    with call.database.reading() as session:
        pair = [registry.find(session, name) for name in (version, other)]
    if pair[0].kind != pair[1].kind:
        (one, kind), (other, other_kind) = [(row.version, row.kind) for row in pair]
        message = gettext(
            "{version} is a {kind} model and {other} is a {other_kind} model; "
            "compare two of one kind."
        )
        raise BadInput(message.format(version=one, kind=kind, other=other, other_kind=other_kind))
    details = [{**_described(row), **_details(row, settings.timezone)} for row in pair]
    return Answer("bot/models_compared", {"models": details, **_comparison(details)})


@COMMAND.command(
    "promote", role="admin", help=gettext("Make a model the champion, whatever it showed.")
)
@click.argument("version")
def promote(call: Call, version: str) -> Answer:
    """Promote a model to champion."""
    database = call.database
    tried = model_decisions.check_usable(database, lambda session: registry.find(session, version))
    with database.transaction() as session:
        row, changed = model_decisions.promote(session, version, call.user, tried)
        return Answer(
            "bot/model_promoted", {"model": _described(row), "by": call.user, "changed": changed}
        )


@COMMAND.command(
    "rollback",
    role="admin",
    help=gettext("Withdraw the champion and go back to the model before it."),
)
@KIND
def rollback(call: Call, kind: str) -> Answer:
    """Withdraw the champion and restore its predecessor."""
    database = call.database
    tried = model_decisions.check_usable(database, lambda session: registry.previous(session, kind))
    with database.transaction() as session:
        is_first = call.first_time(session)
        row = model_decisions.roll_back(session, kind, call.user, tried) if is_first else None
        row = row or registry.champion(session, kind)
        return Answer(
            "bot/model_promoted",
            {"model": _described(row) if row else None, "by": call.user, "changed": is_first},
        )


@COMMAND.command(
    "check",
    request=Monitor,
    help=gettext(
        "Is the churn model in use still good? What came of its predictions, and how "
        "far customers have moved."
    ),
)
def check(call: Call) -> Monitor:
    """Queue a check of the champion."""
    return request(Monitor)


@COMMAND.command(
    "card",
    request=ModelCard,
    help=gettext(
        "The model card: purpose, data, figures, calibration, fairness, limits, "
        "examples. By default of the one in use."
    ),
)
@click.argument("version", required=False, metavar="[VERSION]")
@html_option(gettext("Write it as a page."))
def card(call: Call, version: str | None, html: Path | None = None) -> Answer | ModelCard:
    """Build the model card."""
    if call.surface != TERMINAL:
        if version:
            with call.database.reading() as session:
                # Refuse an unknown version at once.
                registry.find(session, version)
        return request(ModelCard, version=version)

    built = build_card(call.lake, call.database, version=version, progress=call.progress)
    if html:
        html.write_text(built.html(call.settings), encoding="utf-8")
    return Answer("model_card", {"card": built.data, "files": [str(html)] if html else []})


@COMMAND.command(
    "feedback",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext(
        "What people said of scores (a signal about labels) and of items, one row a "
        "person, customer, item and model."
    ),
)
@click.argument("version", required=False, metavar="[VERSION]")
@option("--csv", gettext("Write it to a file."), TO_WRITE, "FILE")
def feedback_(call: Call, version: str | None, csv: Path | None) -> Answer:
    """List the feedback on scores and items."""
    with call.database.reading() as session:
        rows = [
            {**fields_of(row, *FEEDBACK), "user": row.user_id, "at": row.at.isoformat()}
            for row in feedback.list_feedback(session, version)
        ]
        if version and not rows:
            registry.find(session, version)  # refuses an unknown version
    if csv:
        with csv.open("w", encoding="utf-8", newline="") as file:
            writer = DictWriter(file, (*FEEDBACK, "user", "at"))
            writer.writeheader()
            writer.writerows(
                {name: escape_formulas(value) for name, value in row.items()} for row in rows
            )
    return Answer("bot/feedback", {"feedback": rows, "file": str(csv) if csv else None})


def _described(model: ModelVersion) -> dict[str, Any]:
    figures = {
        name: value for name, value in model.metrics.items() if isinstance(value, int | float)
    }
    facts = ("version", "kind", "state", "estimator", "cutoff", "created_at", "created_by")
    return {**fields_of(model, *facts, "promoted_by", "promoted_at"), "metrics": figures}


def _details(model: ModelVersion, zone: str) -> dict[str, Any]:
    """Return the fields that `list` omits, without the reference profiles."""
    metrics = model.metrics
    made = ("rung", "horizon_days", "active_within_days", "parameters", "features", "seed")
    return {
        **fields_of(model, *made, "code_version", "data_fingerprint", "sha256"),
        "selection_note": metrics.get("selection_note") or model.rung,
        "calibration": model.parameters.get("calibration") or "",
        "origins": metrics.get("origins") or _recommender_origins(model, zone),
        "checks": metrics.get("checks") or [],
        "pooled": metrics.get("pooled") or {},
        "baselines": metrics.get("baselines") or {},
        "base_rate": metrics.get("base_rate"),
        "customers": metrics.get("customers"),
        "reliability": metrics.get("reliability") or [],
    }


def _recommender_origins(model: ModelVersion, zone: str) -> list[dict[str, Any]]:
    """Return a recommender's single test horizon. Its days are the shop's."""
    if model.kind != "recommend" or "ndcg" not in model.metrics:
        return []
    end = model.cutoff.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        {
            "cutoff": (end.astimezone(UTC) - timedelta(days=model.horizon_days)).isoformat(),
            "customers": model.metrics.get("customers"),
            "base_rate": None,
            "metrics": {
                name: model.metrics[name] for name in RANKING_METRICS if name in model.metrics
            },
            "baselines": model.metrics.get("baselines") or {},
        }
    ]


def _comparison(pair: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the metrics on common origins, and list the differences."""
    first, second = pair
    common = _common_origins(first, second)
    figures = {}
    for name in common[0][0]["metrics"] if common else ():
        values = [
            sum(origins[side]["metrics"][name] for origins in common) / len(common)
            for side in (0, 1)
        ]
        sign = 1 if name in LOWER_IS_BETTER else -1
        ahead = pair[0] if sign * values[0] < sign * values[1] else pair[1]
        better = None if values[0] == values[1] else ahead["version"]
        figures[name] = {"values": values, "better": better}
    made = ("kind", "estimator", "cutoff", *CHURN_DEFINITION, "code_version", "data_fingerprint")
    facts = (*made, "seed", "state", "rung", "customers")
    return {
        "origins": [origin["cutoff"] for origin, _ in common],
        "figures": figures,
        "same_question": all(first[name] == second[name] for name in CHURN_DEFINITION),
        "differ": {
            name: [model[name] for model in pair] for name in facts if first[name] != second[name]
        },
        "features_only": [
            sorted(set(a["features"]) - set(b["features"])) for a, b in (pair, pair[::-1])
        ],
    }


def _common_origins(
    first: dict[str, Any], second: dict[str, Any]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the pairs of origins on which both models were tested.

    Without a cutoff, training uses data up to that moment. So the origins of two models of one day
    lie minutes apart. They count as one origin if the numbers of customers and the base rates are
    equal. The result is empty if churn means something else for each model.
    """
    if any(first[name] != second[name] for name in CHURN_DEFINITION):
        return []
    return [
        (origin, other)
        for origin in first["origins"]
        for other in second["origins"]
        if _is_same_origin(origin, other)
    ]


def _is_same_origin(origin: dict[str, Any], other: dict[str, Any]) -> bool:
    gap = datetime.fromisoformat(origin["cutoff"]) - datetime.fromisoformat(other["cutoff"])
    equal_fields = ("customers", "base_rate")
    return not gap or (
        abs(gap) < MAX_ORIGIN_GAP
        and all(origin.get(name) == other.get(name) for name in equal_fields)
    )
