"""Judge a recipe on the origins whose outcome is known, with the snapshots that training has taken anyway."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from retention.churn.estimators import SIMPLE
from retention.churn.evaluate import baseline_metrics
from retention.churn.metrics import metrics, reliability
from retention.churn.model import TrainedChurn, fit
from retention.churn.segments import by_segment
from retention.churn.snapshots import Snapshot, TrainingSet
from retention.churn.uncertainty import Interval, log_losses, paired_interval
from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.registry import gate
from retention.templating import count


@dataclass(frozen=True, slots=True)
class Origin:
    """One moment with a known outcome: the customers, what came of them, and what was said of each."""

    test: Snapshot
    churned: np.ndarray
    probability: np.ndarray
    baselines: dict[str, dict[str, float]]
    champion: (
        np.ndarray | None
    )  # what the champion, or its recipe, says of them; None where it cannot be asked
    unseen: bool  # whether the champion itself was asked, who had not seen them

    @property
    def metrics(self) -> dict[str, float]:
        """The contract's seven."""
        return metrics(self.churned, self.probability)

    def as_dict(self) -> dict[str, Any]:
        """For the registry."""
        return {
            "cutoff": self.test.cutoff.isoformat(),
            "customers": len(self.churned),
            "base_rate": float(self.churned.mean()),
            "metrics": self.metrics,
            "baselines": self.baselines,
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a challenger showed, whether it may be used, and the sentence that says why."""

    promote: bool
    why: str
    origins: tuple[Origin, ...] = ()
    checks: tuple[gate.Check, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def by_segment(self, attributes: pd.DataFrame) -> list[dict[str, Any]]:
        """How good it is for each kind of customer, over all origins; see `retention.churn.segments`."""
        if not self.origins:
            return []
        frame = pd.concat([origin.test.frame for origin in self.origins], ignore_index=True)
        churned = np.concatenate([origin.churned for origin in self.origins])
        said = np.concatenate([origin.probability for origin in self.origins])
        return by_segment(frame, churned, said, attributes)

    def as_dict(self) -> dict[str, Any]:
        """For the registry: figures of the newest origin, of each, and of all of them together."""
        if not self.origins:
            return dict.fromkeys(("metrics", "baselines", "base_rate", "customers"))
        newest = self.origins[0].as_dict()
        return {
            "metrics": newest["metrics"],
            "baselines": newest["baselines"],
            "base_rate": newest["base_rate"],
            "customers": newest["customers"],
            "judged_at": newest["cutoff"],
            "origins": [origin.as_dict() for origin in self.origins],
            "checks": [check.as_dict() for check in self.checks],
            **self.details,
        }


def judge(
    training: TrainingSet,
    trained: TrainedChurn,
    champion: TrainedChurn | None,
    *,
    progress: Progress = silent,
) -> Judgement:
    """Judge the recipe of a model just trained against the baselines and the champion; see `retention.registry.gate`.

    Parameters
    ----------
    training : TrainingSet
        What it was trained on; its snapshots serve as origins, each with those that were known before it.
    champion : TrainedChurn or None
        The model in use, None where there is none.
    """
    gone = set(champion.columns) - set(training.newest.frame.columns) if champion else set()
    comparable = champion is not None and not gone and _same_question(champion, trained)
    origins = _origins(training, trained, champion if comparable else None, progress)
    if not origins:
        text = "there is too little history to judge it on weeks it has not seen"
        if gone:
            return Judgement(True, f"{_bygone(gone)} It is used unjudged, for {text}.")
        if champion is None:
            return Judgement(True, f"It is the first; {text}.")
        return Judgement(False, f"It is not used: {text}, so the one in use stays.")
    checks, details = _checks(origins, trained, champion if comparable else None)
    excused = _excused(checks, origins, trained, None if gone else champion)
    mind, failed = _told(checks, excused, alone=champion is None or bool(gone))
    if champion is None:
        return Judgement(True, f"It is the first.{mind}", origins, checks, details)
    if failed:
        return Judgement(
            False, f"The one in use stays, for {'; '.join(failed)}.", origins, checks, details
        )
    why = _why(len(origins), trained, champion, checks, details)
    if gone:
        why = _bygone(gone)
    return Judgement(True, f"{why}{mind}", origins, checks, details)


def _bygone(gone: Collection[str]) -> str:
    return f"The one in use needs features that are no longer computed ({', '.join(sorted(gone))})."


def _excused(
    checks: Sequence[gate.Check],
    origins: Sequence[Origin],
    trained: TrainedChurn,
    champion: TrainedChurn | None,
) -> set[str]:
    """The checks that bind nobody: without a champion that can be used, all; else the faults that it has as well."""
    if champion is None:
        return {check.name for check in checks}
    asked = [origin for origin in origins if origin.champion is not None]
    own = (
        _absolute(asked, [o.champion for o in asked if o.champion is not None], champion)
        if asked
        else ()
    )
    recipe = gate.SHARED if same_recipe(champion, trained) else ()
    return {check.name for check in own if not check.passed} | set(recipe)


def _told(checks: Sequence[gate.Check], excused: set[str], *, alone: bool) -> tuple[str, list[str]]:
    """What failed: told where it binds nobody, else a list of reasons to refuse."""
    failed = [check for check in checks if not check.passed]
    mind = "; ".join(check.text for check in failed if check.name in excused)
    whose = "" if alone else ", as the one in use does"
    return f" Mind{whose}: {mind}." if mind else "", [
        one.text for one in failed if one.name not in excused
    ]


def rolled_back(
    training: TrainingSet, most: int = gate.ORIGINS
) -> list[tuple[Snapshot, TrainingSet]]:
    """Up to ``most`` snapshots one horizon apart, newest first, each with what could be learned before it."""
    horizon = timedelta(days=training.horizon_days)
    found: list[tuple[Snapshot, TrainingSet]] = []
    for test in training.snapshots:
        if len(found) == most or (found and test.cutoff + horizon > found[-1][0].cutoff):
            continue
        if before := training.as_of(test.cutoff):
            found.append((test, before))
    return found


def _same_question(one: TrainedChurn, other: TrainedChurn) -> bool:
    return (one.horizon_days, one.active_within_days) == (
        other.horizon_days,
        other.active_within_days,
    )


def same_recipe(one: TrainedChurn, other: TrainedChurn) -> bool:
    """Whether two models differ only in what they learned from."""
    alike = (one.estimator, one.columns, settings_of(one)) == (
        other.estimator,
        other.columns,
        settings_of(other),
    )
    return alike and _same_question(one, other)


def settings_of(trained: TrainedChurn) -> dict[str, Any]:
    """What a search found for its estimators; empty without one."""
    return dict(trained.parameters.get("settings") or {})


def _origins(
    training: TrainingSet, trained: TrainedChurn, champion: TrainedChurn | None, progress: Progress
) -> tuple[Origin, ...]:
    pairs = rolled_back(training)
    found = []
    for number, (test, before) in enumerate(pairs):
        inner = part(progress, number, len(pairs))
        inner(0, 1, f"Judging on {training.day(test.cutoff)}")
        if test.churned is None or not 0 < test.churned.sum() < len(test.churned):
            continue
        try:
            recipe = replace(before, settings=settings_of(trained))
            asked = fit(recipe, model=trained.estimator, seed=trained.seed, progress=inner)
        except TooLittleData:  # one class only, that early
            break
        said, unseen = _of_champion(champion, trained, test, before)
        found.append(
            Origin(
                test,
                test.churned,
                asked.predict(test),
                baseline_metrics(before, test),
                said,
                unseen,
            )
        )
    return tuple(found)


def _of_champion(
    champion: TrainedChurn | None, trained: TrainedChurn, test: Snapshot, before: TrainingSet
) -> tuple[np.ndarray | None, bool]:
    """The champion's word on an origin it has not seen; of another recipe, what it would have said then."""
    if champion is None or set(champion.columns) - set(test.frame.columns):
        return None, False
    if champion.cutoff <= test.cutoff:
        return champion.predict(test), True
    if same_recipe(champion, trained):
        return None, False
    before = replace(before, columns=champion.columns, settings=settings_of(champion))
    recipe = fit(before, model=champion.estimator, seed=champion.seed)
    return recipe.predict(test), False


def _checks(
    origins: tuple[Origin, ...], trained: TrainedChurn, champion: TrainedChurn | None
) -> tuple[tuple[gate.Check, ...], dict[str, Any]]:
    churned = np.concatenate([origin.churned for origin in origins])
    said = np.concatenate([origin.probability for origin in origins])
    checks = _absolute(origins, [origin.probability for origin in origins], trained)
    details: dict[str, Any] = {
        "pooled": {
            "log_loss": float(log_losses(churned, said).mean()),
            **{
                name: float(np.mean([o.metrics[name] for o in origins]))
                for name in ("auc", "pr_auc", "top_decile_lift", "brier", "ece", "empc")
            },
        },
        "reliability": reliability(churned, said),
    }
    asked = [origin for origin in origins if origin.champion is not None]
    if champion is not None and (asked or not same_recipe(champion, trained)):
        against, difference = _against(asked, same_recipe(champion, trained))
        checks += against
        details["difference"] = difference
    return tuple(checks), details


def _absolute(
    origins: Sequence[Origin], probabilities: Sequence[np.ndarray], model: TrainedChurn
) -> list[gate.Check]:
    """The checks of what one model said at each origin, newest first, that ask nothing of another one."""
    churned, said = (
        np.concatenate([origin.churned for origin in origins]),
        np.concatenate(probabilities),
    )
    checks = [*gate.calibrated(churned, said)]
    if len(origins) > 1:
        checks.append(gate.same_population(np.concatenate(probabilities[1:]), probabilities[0]))
    if model.estimator not in SIMPLE:  # those stand where no baseline can learn much either
        loss = float(log_losses(churned, said).mean())
        checks.append(gate.beats_baselines(loss, _pooled_baselines(origins)))
    return checks


def _pooled_baselines(origins: Sequence[Origin]) -> dict[str, float]:
    weight = [len(origin.churned) for origin in origins]
    return {
        name: float(
            np.average([origin.baselines[name]["log_loss"] for origin in origins], weights=weight)
        )
        for name in origins[0].baselines
    }


def _against(asked: list[Origin], same: bool) -> tuple[list[gate.Check], dict[str, float] | None]:
    """The checks against the champion on the origins where it could be asked."""
    if not asked:
        return [gate.better(Interval(0, 0, 0), 0)], None
    gaps = [
        log_losses(o.churned, o.probability) - log_losses(o.churned, o.champion)
        for o in asked
        if o.champion is not None
    ]
    customers = np.concatenate([origin.test.frame.customer_id.to_numpy() for origin in asked])
    interval = paired_interval(np.concatenate(gaps), customers)
    told = {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "origins": len(asked),
    }
    if same:
        return [gate.not_worse(interval, len(asked))], told
    lifts = [
        (
            origin.metrics["top_decile_lift"],
            metrics(origin.churned, origin.champion)["top_decile_lift"],
        )
        for origin in asked
        if origin.champion is not None
    ]
    new, old = zip(*lifts, strict=True)
    return [gate.better(interval, len(asked)), gate.lift(new, old)], told


def _defined(model: TrainedChurn) -> str:
    days = model.active_within_days
    among = (
        "all who ever ordered" if days is None else f"those who ordered within {count(days, 'day')}"
    )
    return f"no order for {count(model.horizon_days, 'day')}, among {among}"


def _why(
    origins: int,
    trained: TrainedChurn,
    champion: TrainedChurn,
    checks: Sequence[gate.Check],
    details: dict[str, Any],
) -> str:
    on = f"{origins} origin{'s' if origins > 1 else ''}"
    passed = {
        True: f"It beats all three baselines on {on}",
        False: f"It was judged on {on}",
        None: f"It holds on {on}, on a rung without baselines",
    }[next((check.passed for check in checks if check.name == "baselines"), None)]
    if not _same_question(champion, trained):
        return (
            f"Churn is defined differently from now on: {_defined(trained)}; until now it was {_defined(champion)}. {passed}. "
            "If that was not meant, `/retention models rollback` goes back."
        )
    gap = details.get("difference") or {}
    if gap and not same_recipe(champion, trained):
        return (
            f"{passed}, and its recipe is better than the one in use (log-loss {gap['mean']:+.4f})."
        )
    if not gap:
        return f"{passed}; the same recipe as the one in use, on fresher data."
    return f"{passed}; the same recipe, on fresher data, is not worse than the one in use ({gap['mean']:+.4f})."
