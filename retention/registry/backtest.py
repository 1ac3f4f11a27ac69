"""Backtest churn models against champion and baselines.

Earlier snapshots with known outcomes serve as origins.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from retention.churn import private
from retention.churn.estimators import ESTIMATORS, RFM, SIMPLE
from retention.churn.evaluation.classification_metrics import metrics, reliability
from retention.churn.evaluation.evaluate import baseline_metrics
from retention.churn.evaluation.segments import by_segment
from retention.churn.evaluation.uncertainty import Interval, log_losses, paired_interval
from retention.churn.model import TrainedChurn, fit
from retention.churn.snapshots import Snapshot
from retention.churn.training_set import TrainingSet
from retention.errors import TooLittleData
from retention.number_format import signed
from retention.progress import Progress, part, silent
from retention.registry import gate
from retention.templating import count
from retention.text import gettext


@dataclass(frozen=True, slots=True)
class Origin:
    """Predictions and outcomes at one moment."""

    test: Snapshot
    churned: np.ndarray
    probability: np.ndarray
    baselines: dict[str, dict[str, float]]
    champion: np.ndarray | None
    unseen: bool

    @property
    def metrics(self) -> dict[str, float]:
        """Standard metrics of the challenger."""
        return metrics(self.churned, self.probability)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for the registry."""
        return {
            "cutoff": self.test.cutoff.isoformat(),
            "customers": len(self.churned),
            "base_rate": float(self.churned.mean()),
            "metrics": self.metrics,
            "baselines": self.baselines,
        }


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """Result of a backtest and the decision to promote."""

    promote: bool
    why: str
    origins: tuple[Origin, ...] = ()
    checks: tuple[gate.Check, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def by_segment(self, attributes: pd.DataFrame) -> list[dict[str, Any]]:
        """Return metrics by customer segment over all origins."""
        if not self.origins:
            return []
        frame = pd.concat([origin.test.frame for origin in self.origins], ignore_index=True)
        churned = np.concatenate([origin.churned for origin in self.origins])
        probability = np.concatenate([origin.probability for origin in self.origins])
        return by_segment(frame, churned, probability, attributes)

    def as_dict(self) -> dict[str, Any]:
        """Return figures of all origins for the registry.

        These are figures of the newest origin, of each origin, and pooled.
        """
        if not self.origins:
            return dict.fromkeys(("metrics", "baselines", "base_rate", "customers"))
        newest = self.origins[0].as_dict()
        return {
            **{name: newest[name] for name in ("metrics", "baselines", "base_rate", "customers")},
            "judged_at": newest["cutoff"],
            "origins": [origin.as_dict() for origin in self.origins],
            "checks": [asdict(check) for check in self.checks],
            **self.details,
        }


def backtest(
    training: TrainingSet,
    trained: TrainedChurn,
    champion: TrainedChurn | None,
    *,
    is_unreadable: bool = False,
    progress: Progress = silent,
) -> BacktestResult:
    """Compare a new model with the champion and the baselines.

    `retention.registry.gate` defines the rule.

    `is_unreadable`: whether there is a champion that cannot be read, which makes ``champion`` None.
    """
    missing = set(champion.columns) - set(training.newest.frame.columns) if champion else set()
    is_same = champion is not None and champion.window == trained.window
    comparable = champion if is_same and not missing else None
    origins = _evaluate_origins(training, trained, comparable, progress)
    if not origins:
        return _without_origins(trained, champion, missing, is_unreadable)
    checks, details = _all_checks(origins, trained, comparable)
    excused = _non_binding_checks(checks, origins, trained, comparable)
    caveat, failed = _failed_checks(checks, excused, alone=comparable is None)
    if is_unreadable:
        why = gettext("The one in use cannot be read any more.")
    elif champion is None:
        why = gettext("It is the first.")
    elif not is_same:
        why = _new_definition_note(trained, champion)
    elif failed:
        why = gettext("The one in use stays, for {reasons}.").format(reasons="; ".join(failed))
        return BacktestResult(False, why, origins, checks, details)
    elif missing:
        why = _missing_features_note(missing)
    else:
        why = _promotion_note(len(origins), trained, champion, checks, details)
    return BacktestResult(True, f"{why}{caveat}", origins, checks, details)


def _without_origins(
    trained: TrainedChurn,
    champion: TrainedChurn | None,
    missing: Collection[str],
    is_unreadable: bool,
) -> BacktestResult:
    """Decide if there is no origin to evaluate on."""
    if missing:
        note = gettext(
            "It is used unjudged, for there is too little history to judge it on weeks it has not "
            "seen."
        )
        return BacktestResult(True, f"{_missing_features_note(missing)} {note}")
    if champion is not None and champion.window != trained.window:
        note = gettext("There is too little history to judge it on weeks it has not seen.")
        return BacktestResult(True, f"{_new_definition_note(trained, champion)} {note}")
    if champion is not None:
        why = gettext(
            "It is not used: there is too little history to judge it on weeks it has not seen, "
            "so the one in use stays."
        )
    elif is_unreadable:
        why = gettext(
            "The one in use cannot be read any more; there is too little history to judge it on "
            "weeks it has not seen."
        )
    else:
        why = gettext(
            "It is the first; there is too little history to judge it on weeks it has not seen."
        )
    return BacktestResult(champion is None, why)


def _missing_features_note(missing: Collection[str]) -> str:
    text = gettext("The one in use needs features that are no longer computed ({features}).")
    return text.format(features=", ".join(sorted(missing)))


def _non_binding_checks(
    checks: Sequence[gate.Check],
    origins: Sequence[Origin],
    trained: TrainedChurn,
    champion: TrainedChurn | None,
) -> set[str]:
    """Return the checks that may fail.

    Without a usable champion these are all, otherwise those that the champion fails, too.
    """
    if champion is None:
        return {check.name for check in checks}
    compared = _compared(origins)
    seen, probabilities = [origin for origin, _ in compared], [other for _, other in compared]
    own = _model_checks(seen, probabilities, champion) if compared else ()
    recipe = gate.RECIPE_CHECKS if same_recipe(champion, trained) else ()
    return {check.name for check in own if not check.passed} | set(recipe)


def _failed_checks(
    checks: Sequence[gate.Check], excused: set[str], *, alone: bool
) -> tuple[str, list[str]]:
    """Return non-binding failures as text, and binding ones."""
    failed = [check for check in checks if not check.passed]
    binding = [check.text for check in failed if check.name not in excused]
    faults = "; ".join(check.text for check in failed if check.name in excused)
    if not faults:
        return "", binding
    if alone:
        caveat = gettext("Mind: {faults}.")
    else:
        caveat = gettext("Mind, as the one in use does: {faults}.")
    return f" {caveat.format(faults=faults)}", binding


def backtest_origins(
    training: TrainingSet, limit: int = gate.ORIGINS
) -> list[tuple[Snapshot, TrainingSet]]:
    """Return snapshots one horizon apart with their training data.

    Returns: newest first.
    """
    horizon = timedelta(days=training.horizon_days)
    pairs: list[tuple[Snapshot, TrainingSet]] = []
    for test in training.snapshots:
        if len(pairs) == limit or (pairs and test.cutoff + horizon > pairs[-1][0].cutoff):
            continue
        if before := training.as_of(test.cutoff):
            pairs.append((test, before))
    return pairs


def price_of_privacy(training: TrainingSet, result: BacktestResult) -> dict[str, float | None]:
    """Compare a private model's log-loss with that of the same model without noise."""
    cutoffs = {origin.test.cutoff for origin in result.origins}
    plain = replace(training, settings={private.PRIVATE: {"epsilon": inf}})
    pairs = [pair for pair in backtest_origins(plain) if pair[0].cutoff in cutoffs]
    if not pairs:
        return {"log_loss": None, "plain_log_loss": None}
    losses = [
        log_losses(test.labels, fit(before, model=private.PRIVATE).predict(test))
        for test, before in pairs
    ]
    return {
        "log_loss": result.details["pooled"]["log_loss"],
        "plain_log_loss": float(np.concatenate(losses).mean()),
    }


def same_recipe(first: TrainedChurn, second: TrainedChurn) -> bool:
    """Whether two models differ only in their training data."""
    return _recipe(first) == _recipe(second)


def _recipe(model: TrainedChurn) -> tuple[Any, ...]:
    return model.estimator, model.columns, settings_of(model), model.window


def settings_of(trained: TrainedChurn) -> dict[str, Any]:
    """Return the tuned settings of a model; empty without tuning."""
    return dict(trained.parameters.get("settings") or {})


def _evaluate_origins(
    training: TrainingSet, trained: TrainedChurn, champion: TrainedChurn | None, progress: Progress
) -> tuple[Origin, ...]:
    pairs = backtest_origins(training)
    origins = []
    for number, (test, before) in enumerate(pairs):
        inner = part(progress, number, len(pairs))
        inner(0, 1, gettext("Judging on {day}").format(day=training.day(test.cutoff)))
        if test.churned is None or not 0 < test.churned.sum() < len(test.churned):
            continue
        try:
            if trained.cutoff <= test.cutoff:  # trained with other desks, on older data only
                refitted = trained
            else:
                recipe = replace(before, settings=settings_of(trained))
                refitted = fit(recipe, model=trained.estimator, seed=trained.seed, progress=inner)
        except TooLittleData:  # one class only, that early
            break
        of_champion = _champion_probabilities(champion, trained, test, before)
        baselines = baseline_metrics(before, test)
        own = refitted.predict(test)
        origins.append(Origin(test, test.churned, own, baselines, *of_champion))
    return tuple(origins)


def _champion_probabilities(
    champion: TrainedChurn | None, trained: TrainedChurn, test: Snapshot, before: TrainingSet
) -> tuple[np.ndarray | None, bool]:
    """Return the champion's predictions and if they are unseen.

    If the champion was trained later and has another recipe, its recipe is fitted on earlier data.
    """
    if champion is None or set(champion.columns) - set(test.frame.columns):
        return None, False
    if champion.cutoff <= test.cutoff:
        return champion.predict(test), True
    if same_recipe(champion, trained) or champion.estimator not in (*ESTIMATORS, private.PRIVATE):
        return None, False
    before = replace(before, columns=champion.columns, settings=settings_of(champion))
    recipe = fit(before, model=champion.estimator, seed=champion.seed)
    return recipe.predict(test), False


def _all_checks(
    origins: tuple[Origin, ...], trained: TrainedChurn, champion: TrainedChurn | None
) -> tuple[tuple[gate.Check, ...], dict[str, Any]]:
    churned = np.concatenate([origin.churned for origin in origins])
    probability = np.concatenate([origin.probability for origin in origins])
    loss = paired_interval(log_losses(churned, probability), _customers(origins))
    checks = _model_checks(origins, [origin.probability for origin in origins], trained)
    names = ("auc", "pr_auc", "top_decile_lift", "brier", "ece", "empc")
    details: dict[str, Any] = {
        "pooled": {
            "log_loss": loss.mean,
            "log_loss_interval": {"low": loss.low, "high": loss.high},
            **{name: float(np.mean([o.metrics[name] for o in origins])) for name in names},
        },
        "reliability": reliability(churned, probability),
    }
    compared = _compared(origins)
    same = champion is not None and same_recipe(champion, trained)
    if champion is not None and (compared or not same):
        more, difference = _champion_checks(compared, same, is_plain=trained.estimator == RFM)
        checks += more
        details["difference"] = difference
    return tuple(checks), details


def _model_checks(
    origins: Sequence[Origin], probabilities: Sequence[np.ndarray], model: TrainedChurn
) -> list[gate.Check]:
    """Return the checks that need no other model. Newest origin first."""
    churned = np.concatenate([origin.churned for origin in origins])
    probability = np.concatenate(probabilities)
    checks = [*gate.check_calibration(churned, probability)]
    if len(origins) > 1:
        checks.append(gate.check_population(np.concatenate(probabilities[1:]), probabilities[0]))
    if model.estimator not in SIMPLE:  # with little data, baselines learn little, too
        loss = float(log_losses(churned, probability).mean())
        checks.append(gate.check_baselines(loss, _pooled_baselines(origins)))
    return checks


def _pooled_baselines(origins: Sequence[Origin]) -> dict[str, float]:
    weight = [len(origin.churned) for origin in origins]
    return {
        name: float(
            np.average([origin.baselines[name]["log_loss"] for origin in origins], weights=weight)
        )
        for name in origins[0].baselines
    }


def _champion_checks(
    compared: list[tuple[Origin, np.ndarray]], same: bool, *, is_plain: bool
) -> tuple[list[gate.Check], dict[str, float] | None]:
    """Return the checks against the champion.

    No champion may be worse than plain logistic regression, so that needs one origin only.
    """
    if not compared:
        return [gate.check_better(Interval(0, 0, 0), 0)], None
    gaps = [
        log_losses(origin.churned, origin.probability) - log_losses(origin.churned, other)
        for origin, other in compared
    ]
    customers = _customers([origin for origin, _ in compared])
    interval = paired_interval(np.concatenate(gaps), customers)
    difference = {**asdict(interval), "origins": len(compared)}
    if same:
        return [gate.check_not_worse(interval, len(compared))], difference
    if is_plain:
        return [gate.check_better(interval, len(compared), needed=1)], difference
    new = [origin.metrics["top_decile_lift"] for origin, _ in compared]
    old = [metrics(origin.churned, other)["top_decile_lift"] for origin, other in compared]
    return [gate.check_better(interval, len(compared)), gate.check_lift(new, old)], difference


def _compared(origins: Sequence[Origin]) -> list[tuple[Origin, np.ndarray]]:
    """Return the origins that have predictions of the champion, with these."""
    return [(origin, origin.champion) for origin in origins if origin.champion is not None]


def _customers(origins: Sequence[Origin]) -> np.ndarray:
    return np.concatenate([origin.test.frame.customer_id.to_numpy() for origin in origins])


def _new_definition_note(trained: TrainedChurn, champion: TrainedChurn) -> str:
    return gettext(
        "It is the first model for another definition of churn: {new}; until now it was {old}. "
        "If that was not meant, go back to the previous model."
    ).format(new=_churn_definition(trained), old=_churn_definition(champion))


def _churn_definition(model: TrainedChurn) -> str:
    horizon = count(model.horizon_days, "day")
    if model.active_within_days is None:
        return gettext("no order for {horizon}, among all who ever ordered").format(horizon=horizon)
    text = gettext("no order for {horizon}, among those who ordered within {activity}")
    return text.format(horizon=horizon, activity=count(model.active_within_days, "day"))


def _promotion_note(
    origins: int,
    trained: TrainedChurn,
    champion: TrainedChurn,
    checks: Sequence[gate.Check],
    details: dict[str, Any],
) -> str:
    beats_baselines = next((check.passed for check in checks if check.name == "baselines"), None)
    if beats_baselines is None:
        passed = gettext("It holds on {origins}, on a rung without baselines")
    elif beats_baselines:
        passed = gettext("It beats all three baselines on {origins}")
    else:
        passed = gettext("It was judged on {origins}")
    passed = passed.format(origins=count(origins, "origin"))
    difference = details.get("difference")
    if not difference:
        sentence = gettext("{passed}; the same recipe as the one in use, on fresher data.")
        return sentence.format(passed=passed)
    if same_recipe(champion, trained):
        sentence = gettext(
            "{passed}; the same recipe, on fresher data, is not worse than the one in use "
            "({difference})."
        )
    else:
        sentence = gettext(
            "{passed}, and its recipe is better than the one in use (log-loss {difference})."
        )
    return sentence.format(passed=passed, difference=signed(difference["mean"], 4))
