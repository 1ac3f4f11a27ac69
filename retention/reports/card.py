"""Build the model card of a churn model.

It states purpose, data, performance, limits and owner.

Only the examples describe single customers, under pseudonyms. Metrics come from the registry; the
stored model computes the scores at its cutoff.

References
----------
Mitchell et al. (2019), Model Cards for Model Reporting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from retention import clock, feedback, templating
from retention.db import Database
from retention.db.audit import history
from retention.db.tables import ModelVersion
from retention.errors import BadInput, Refused
from retention.federation import FEDERATED
from retention.lake.importing import quarantine
from retention.lake.importing.quarantine_reasons import by_code, by_text
from retention.privacy import pseudonym
from retention.progress import Progress, silent
from retention.registry import champion, find
from retention.registry.model_cache import churn_model
from retention.reports import card_charts
from retention.reports.charts import Chart
from retention.risk.policy import TIERS, load_policy, thresholds, tier_of, tiers_of
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn
    from retention.lake import Lake

SAMPLE = 200  # customers for the drivers
SECOND_OPINIONS = 25  # of these, customers that a second model explains, too
METRICS = {
    "auc": "AUC",
    "pr_auc": "PR-AUC",
    "top_decile_lift": "top-decile lift",
    "brier": "Brier score",
    "log_loss": "log-loss",
    "ece": "calibration error (ECE)",
    "empc": "EMPC",
}
CHART_NAMES = ("against", "calibration", "drivers")
MISSING_SHARE = 0.5  # above, a feature counts as often missing
UNFAIR_GAP = 0.05  # |expected − observed churn| in a group
UNFAIR_SHARE = 0.5  # the same, as a share of the expected churn
MAX_CHANCE_ERRORS = 3.0  # standard errors; a smaller gap may be chance, as there are many groups
MAX_NAMED = 4  # groups named in a sentence


@dataclass(frozen=True, slots=True)
class Card:
    """``data`` for the templates, and ``charts`` by name."""

    data: dict[str, Any]
    charts: dict[str, Chart]

    def html(self, settings: Settings) -> str:
        """Return one self-contained page without scripts or external files."""
        pictures: dict[str, Any] = dict.fromkeys(CHART_NAMES) | {
            name: {"source": chart.url, "alt": chart.alt_text}
            for name, chart in self.charts.items()
        }
        return templating.html(
            "reports/model_card.html.j2", card=self.data, pictures=pictures, zone=settings.timezone
        )


def card(
    lake: "Lake", database: Database, *, version: str | None = None, progress: Progress = silent
) -> Card:
    """Build the card of a churn model. By default that of the champion."""
    settings = database.settings
    progress(0, 5, gettext("Reading the registry"))
    with database.reading() as session:
        row = find(session, version) if version else champion(session, "churn")
        if row is None:
            message = gettext("No churn model is in use yet, so there is no card.")
            raise BadInput(message, hint="retrain")
        if row.kind != "churn":
            text = gettext("{version} is a {kind} model; there are cards of churn models only.")
            raise BadInput(text.format(version=row.version, kind=row.kind))
        feedback_summary = feedback.summary(session, row.version)
        steps = _history(session, row)
    progress(1, 5, gettext("Counting the data"))
    data = _facts(row, settings) | {
        "data": _data(lake, settings, row),
        "feedback": feedback_summary,
        "history": steps,
        "now": None,
        "examples": [],
    }
    charts = _charts(row)
    try:
        model_facts = _score_customers(churn_model(settings, row), lake, settings, row, progress)
    except Refused as problem:  # the rest of the card needs no artefact
        model_facts = {"unasked": str(problem)}
    if model_facts.get("now"):
        charts["drivers"] = card_charts.drivers(model_facts["now"]["drivers"])
    data |= model_facts
    data["limits"] = _limits(row, data)
    return Card(data, charts)


def _facts(row: ModelVersion, settings: Settings) -> dict[str, Any]:
    """Return the registry's facts about a model."""
    evaluation = row.metrics
    columns = (
        *("version", "state", "estimator", "rung", "horizon_days", "active_within_days", "seed"),
        *("code_version", "sha256", "created_by", "promoted_by"),
    )
    figures = ("judged_at", "customers", "base_rate", "difference")
    return {
        **{name: getattr(row, name) for name in columns},
        **{name: evaluation.get(name) for name in figures},
        "made_at": clock.now().isoformat(),
        "cutoff": row.cutoff.isoformat(),
        "features": len(row.features),
        "fingerprint": row.data_fingerprint,
        "calibration": row.parameters.get("calibration", ""),
        "train_rows": row.parameters.get("train_rows"),
        "settings": row.parameters.get("settings") or {},
        "searched": row.parameters.get("tuning") or {},
        "created_at": row.created_at.isoformat(),
        "promoted_at": row.promoted_at.isoformat() if row.promoted_at else None,
        "metrics": _metric_rows(row),
        "origins": len(evaluation.get("origins") or []),
        "checks": evaluation.get("checks") or [],
        "segments": [_segment_row(segment) for segment in evaluation.get("segments") or []],
    }


def _metric_rows(row: ModelVersion) -> list[dict[str, Any]]:
    """Return a table row for each metric.

    Columns: newest origin, mean and sd over all origins, and baselines.
    """
    evaluation = row.metrics
    if not isinstance(evaluation.get("metrics"), Mapping):
        return []
    origins, baselines = evaluation.get("origins") or [], evaluation.get("baselines") or {}
    rows = []
    for name, text in METRICS.items():
        values = [origin["metrics"][name] for origin in origins if name in origin["metrics"]]
        rows.append(
            {
                "name": text,
                "value": evaluation["metrics"].get(name),
                "mean": float(np.mean(values)) if len(values) > 1 else None,
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "baselines": {key: metrics.get(name) for key, metrics in baselines.items()},
            }
        )
    return rows


def _segment_row(segment: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group with a check of calibration.

    ``off`` says whether it is off by more than chance.
    """
    gap, expected = segment["expected"] - segment["observed"], max(segment["expected"], 1e-9)
    chance = np.sqrt(expected * (1 - segment["expected"]) / segment["customers"])
    large = abs(gap) > UNFAIR_GAP or abs(gap) / expected > UNFAIR_SHARE
    return {**segment, "gap": gap, "off": bool(large and abs(gap) > MAX_CHANCE_ERRORS * chance)}


def _charts(row: ModelVersion) -> dict[str, Chart]:
    evaluation, charts = row.metrics, {}
    if isinstance(evaluation.get("metrics"), Mapping) and evaluation.get("baselines"):
        metrics = evaluation["metrics"]
        charts["against"] = card_charts.baseline_comparison(metrics, evaluation["baselines"])
    if evaluation.get("reliability"):
        charts["calibration"] = card_charts.calibration(evaluation["reliability"])
    return charts


def _data(lake: "Lake", settings: Settings, row: ModelVersion) -> dict[str, Any]:
    """Describe the training data, counted again."""
    reasons = quarantine.reason_counts(lake.duckdb, settings)
    events = lake.table("events", before=row.cutoff)
    aggregate = events.aggregate(
        events=events.count(),
        customers=events.customer_id.nunique(),
        first=events.occurred_at.min(),
        last=events.occurred_at.max(),
    ).execute()
    totals = aggregate.iloc[0]
    fingerprint = lake.fingerprint(row.cutoff)
    fresh = _content_fingerprint(fingerprint) == _content_fingerprint(row.data_fingerprint)
    return {
        "events": int(totals.events),
        "customers": int(totals.customers),
        "first": totals["first"].isoformat() if totals.events else None,
        "last": totals["last"].isoformat() if totals.events else None,
        "unchanged": fresh,
        "quarantine": by_code(reasons),
        "quarantine_text": by_text(reasons),
    }


def _content_fingerprint(fingerprint: str) -> str:
    """Return the fingerprint without table versions. Versions change with every later import."""
    return fingerprint.partition(" ")[2]


def _history(session: Any, row: ModelVersion) -> list[dict[str, Any]]:
    words = {"train": "trained", "promote": "put into use", "rollback": "withdrawn"}
    steps = history(session, session.settings.team_id, row.version, "model", latest=None)
    return [
        {**step, "why": step["why"] or "", "action": words.get(step["action"], step["action"])}
        for step in steps
    ]


def _score_customers(
    trained: "TrainedChurn", lake: "Lake", settings: Settings, row: ModelVersion, progress: Progress
) -> dict[str, Any]:
    """Score the customers at the model's cutoff.

    Returns drivers, the comparison with a second model, and one example for each tier.
    """
    from retention.churn.explaining.lime import second_opinion
    from retention.churn.explaining.reasons import group_weights
    from retention.churn.model_features import GROUP_OF
    from retention.churn.population import population

    progress(2, 5, gettext("Asking the model"))
    people = population(lake, row.cutoff, trained.window)
    X = people.matrix(trained.columns)
    sampled = np.random.default_rng(0).permutation(len(X))[:SAMPLE]
    attributions = group_weights(trained, X[sampled])
    progress(3, 5, gettext("Asking for second opinions"))
    comparisons = [
        (
            second_opinion(trained, X[place], X),
            {group: weights[number] for group, weights in attributions.by_group.items()},
        )
        for number, place in enumerate(sampled[:SECOND_OPINIONS])
    ]
    missing = np.isnan(X).mean(axis=0)
    progress(4, 5, gettext("Choosing examples"))
    by_group = attributions.by_group.items()
    unknown = np.flatnonzero(missing > MISSING_SHARE)
    return {
        "now": {
            "customers": len(X),
            "sample": len(sampled),
            "methods": list(attributions.methods),
            "error": attributions.error,
            "drivers": {group: float(np.abs(weights).mean()) for group, weights in by_group},
            "asked_twice": len(comparisons),
            "fidelity": float(np.mean([opinion.fidelity for opinion, _ in comparisons])),
            "agreement": float(
                np.mean([opinion.agreement(first) for opinion, first in comparisons])
            ),
            "missing": list(dict.fromkeys(GROUP_OF[trained.columns[place]] for place in unknown)),
        },
        "examples": _examples(trained, lake, settings, row.cutoff, people, X),
    }


def _examples(
    trained: "TrainedChurn",
    lake: "Lake",
    settings: Settings,
    at: datetime,
    people: Any,
    X: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the median customer of each tier. Customers have pseudonyms."""
    from retention.churn.explaining.explain import explain
    from retention.risk.reasons import reasons_for_tier

    limits = thresholds(load_policy(settings), trained)
    chance = trained.probability(X)
    tiers, examples = tiers_of(chance, limits), []
    for tier in TIERS:
        places = np.flatnonzero(tiers == tier)
        if not len(places):
            continue
        middle = places[np.argsort(chance[places], kind="stable")[len(places) // 2]]
        customer = str(people.frame.customer_id[middle])
        explanation = explain(
            trained, lake, at, customer, tier_of=lambda probability: tier_of(probability, limits)
        )
        if explanation is not None:
            examples.append(
                {
                    "customer": pseudonym(settings.key, customer),
                    "tier": tier,
                    "churn_probability": float(explanation.score.churn_probability),
                    "reasons": reasons_for_tier(explanation.score.reasons, tier),
                    "counterfactuals": [change.text for change in explanation.counterfactuals],
                }
            )
    return examples


def _join_names(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return "; ".join(names[:MAX_NAMED]) + (
        gettext("; and {more} more").format(more=more) if more > 0 else ""
    )


def _limits(row: ModelVersion, data: dict[str, Any]) -> list[str]:
    """Return the model's limits as sentences. Those from the data come first."""
    limits = [row.rung] if row.rung else []
    if not data["metrics"]:
        limits.append(
            gettext("It has not been evaluated: there was too little history before its cutoff.")
        )
    failed = [check["text"] for check in data["checks"] if not check["passed"]]
    limits += [gettext("A check it did not pass: {text}.").format(text=text) for text in failed]
    off = [
        f"{segment['segment'].replace('_', ' ')} {segment['value']}"
        for segment in data["segments"]
        if segment["off"]
    ]
    if off:
        message = gettext("Its probabilities are off by more than chance for some groups: {off}.")
        limits.append(message.format(off=_join_names(off)))
    now = data.get("now")
    if now and now["missing"]:
        message = gettext(
            "Some of what it could use is unknown for most customers, here of: {missing}."
        )
        limits.append(message.format(missing=", ".join(now["missing"])))
    if data.get("unasked"):
        message = gettext("The artefact could not be asked for this card: {unasked}")
        limits.append(message.format(unasked=data["unasked"]))
    if not data["data"]["unchanged"]:
        limits.append(
            gettext(
                "The data before its cutoff has changed since it was trained (late events, "
                "or a new import)."
            )
        )
    return [
        *limits,
        gettext(
            "It sees what was imported and nothing else: a customer who orders "
            "elsewhere looks like one who has left."
        ),
        gettext(
            "A risk is not a response: whom an offer would win back is told by the "
            "hold-out of campaigns, not by this score."
        ),
        gettext(
            "It was learned from the customers of several shops and holds for this one's, as long "
            "as they are alike."
        )
        if row.estimator == FEDERATED
        else gettext(
            "It was learned from this shop's customers and holds for them, as long as "
            "they and the season stay alike."
        ),
    ]
