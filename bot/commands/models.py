"""`models`: list, compare, promote and roll back models."""

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
    integer,
    request,
)
from retention import feedback, registry
from retention.csv import escape_formulas
from retention.db.audit import history
from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.text import gettext
from workers import models
from workers.requests import ModelCard, Monitor

KIND = click.argument(
    "kind", type=choice("churn", "recommend"), default="churn", metavar="[churn|recommend]"
)
FEEDBACK_COLUMNS = (
    "customer_id",
    "item_id",
    "as_of",
    "model_version",
    "verdict",
    "reason",
    "user",
    "at",
)
RANKING_METRICS = ("ndcg", "recall", "map", "coverage")
LOWER_IS_BETTER = ("log_loss", "brier", "ece")
CHURN_DEFINITION = ("horizon_days", "active_within_days")
MAX_ORIGIN_GAP = timedelta(days=1)


@group("models", default="list", help=gettext("Which models there are, and which one is used."))
def COMMAND() -> None: ...


@COMMAND.command(
    "list",
    role="viewer",
    help=gettext("The newest models, how good they are, and which is the champion."),
)
@click.option("--kind", type=choice("churn", "recommend"), help=gettext("Only these."))
@click.option(
    "--limit", type=integer(1, 50), default=10, metavar="N", help=gettext("How many, newest first.")
)
def listing(call: Call, kind: str | None, limit: int) -> Answer:
    """List the newest models."""
    query = select(ModelVersion).where(ModelVersion.team_id == call.services.settings.team_id)
    if kind:
        query = query.where(ModelVersion.kind == kind)
    with call.services.database.reading() as session:
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
    settings = call.services.settings
    with call.services.database.reading() as session:
        row = registry.find(session, settings, version)
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
    settings = call.services.settings
    with call.services.database.reading() as session:
        pair = [registry.find(session, settings, name) for name in (version, other)]
    if pair[0].kind != pair[1].kind:
        raise BadInput(
            gettext(
                "{version} is a {kind} model and {other} is a {other_kind} model; "
                "compare two of one kind."
            ).format(
                version=pair[0].version,
                kind=pair[0].kind,
                other=pair[1].version,
                other_kind=pair[1].kind,
            )
        )
    details = [{**_described(row), **_details(row, settings.timezone)} for row in pair]
    return Answer("bot/models_compared", {"models": details, **_comparison(details)})


@COMMAND.command(
    "promote", role="admin", help=gettext("Make a model the champion, whatever it showed.")
)
@click.argument("version")
def promote(call: Call, version: str) -> Answer:
    """Promote a model to champion."""
    settings = call.services.settings
    database = call.services.database
    tried = models.check_usable(
        database, settings, lambda session: registry.find(session, settings, version)
    )
    with database.transaction() as session:
        row, changed = models.promote(session, settings, version, call.user, tried)
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
    settings = call.services.settings
    database = call.services.database
    tried = models.check_usable(
        database, settings, lambda session: registry.previous(session, settings, kind)
    )
    with database.transaction() as session:
        is_first = call.first_time(session)
        row = models.roll_back(session, settings, kind, call.user, tried) if is_first else None
        row = row or registry.champion(session, settings, kind)
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
@click.option(
    "--html", type=TO_WRITE, cls=TerminalOption, metavar="FILE", help=gettext("Write it as a page.")
)
@click.option(
    "--pdf", type=TO_WRITE, cls=TerminalOption, metavar="FILE", help=gettext("Write it on paper.")
)
def card(
    call: Call, version: str | None, html: Path | None = None, pdf: Path | None = None
) -> Answer | ModelCard:
    """Build the model card."""
    if call.surface != TERMINAL:
        if version:
            with call.services.database.reading() as session:
                # Refuse an unknown version at once.
                registry.find(session, call.services.settings, version)
        return request(ModelCard, version=version)
    from retention.lake import Lake
    from retention.reports.card import card as build_card
    from retention.reports.card import printable_card

    services, lake = call.services, Lake.open(call.services.settings)
    built = build_card(
        lake,
        services.database,
        services.settings,
        version=version,
        progress=call.progress,
    )
    if html:
        html.write_text(built.html(services.settings), encoding="utf-8")
    if pdf:
        printed = printable_card(built, lake, services.database, services.settings)
        pdf.write_bytes(printed.pdf(services.settings))
    return Answer(
        "model_card", {"card": built.data, "files": [str(path) for path in (html, pdf) if path]}
    )


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
@click.option("--csv", type=TO_WRITE, metavar="FILE", help=gettext("Write it to a file."))
def feedback_(call: Call, version: str | None, csv: Path | None) -> Answer:
    """List the feedback on scores and items."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        rows = [
            {
                "customer_id": row.customer_id,
                "item_id": row.item_id,
                "as_of": row.as_of.isoformat(),
                "model_version": row.model_version,
                "verdict": row.verdict,
                "reason": row.reason,
                "user": row.user_id,
                "at": row.at.isoformat(),
            }
            for row in feedback.list_feedback(session, settings, version)
        ]
        if version and not rows:
            registry.find(session, settings, version)  # refuses an unknown version
    if csv:
        with csv.open("w", encoding="utf-8", newline="") as file:
            writer = DictWriter(file, FEEDBACK_COLUMNS)
            writer.writeheader()
            writer.writerows(
                {name: escape_formulas(value) for name, value in row.items()} for row in rows
            )
    return Answer("bot/feedback", {"feedback": rows, "file": str(csv) if csv else None})


def _described(model: ModelVersion) -> dict[str, Any]:
    return {
        "version": model.version,
        "kind": model.kind,
        "state": model.state,
        "estimator": model.estimator,
        "cutoff": model.cutoff.isoformat(),
        "created_at": model.created_at.isoformat(),
        "created_by": model.created_by,
        "promoted_by": model.promoted_by,
        "promoted_at": model.promoted_at.isoformat() if model.promoted_at else None,
        "metrics": {
            name: value for name, value in model.metrics.items() if isinstance(value, int | float)
        },
    }


def _details(model: ModelVersion, zone: str) -> dict[str, Any]:
    """Return the fields that `list` omits, without the reference profiles."""
    return {
        "rung": model.rung,
        "selection_note": model.metrics.get("selection_note") or model.rung,
        "horizon_days": model.horizon_days,
        "active_within_days": model.active_within_days,
        "parameters": model.parameters,
        "calibration": model.parameters.get("calibration") or "",
        "features": model.features,
        "seed": model.seed,
        "code_version": model.code_version,
        "data_fingerprint": model.data_fingerprint,
        "sha256": model.sha256,
        "origins": model.metrics.get("origins") or _recommender_origins(model, zone),
        "checks": model.metrics.get("checks") or [],
        "pooled": model.metrics.get("pooled") or {},
        "baselines": model.metrics.get("baselines") or {},
        "base_rate": model.metrics.get("base_rate"),
        "customers": model.metrics.get("customers"),
        "reliability": model.metrics.get("reliability") or [],
    }


def _recommender_origins(model: ModelVersion, zone: str) -> list[dict[str, Any]]:
    """Return a recommender's single test horizon.

    Its days are the shop's.
    """
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
