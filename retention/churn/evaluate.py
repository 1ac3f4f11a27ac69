"""How good would the model have been? Trained before the cutoff only, judged by what then happened."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from retention.churn import baselines
from retention.churn.metrics import (
    brier_decomposition,
    ece_by_chance,
    lift_curve,
    metrics,
    reliability,
)
from retention.churn.model import TrainedChurn, fit
from retention.churn.segments import attributes_of, by_segment
from retention.churn.snapshots import Snapshot, TrainingSet, history, take
from retention.churn.uncertainty import intervals, log_loss_of, paired
from retention.errors import BadInput, TooLittleData
from retention.lake.coverage import check_label_window
from retention.progress import Progress, part, silent
from retention.text import gettext

_CURVE = (
    (1, 1),
    (1, 2),
    (1, 4),
    (1, 0),
    (1 / 8, 0),
    (1 / 4, 0),
    (1 / 2, 0),
)  # customers; snapshots, 0 for all


@dataclass(frozen=True, slots=True)
class Judged:
    """A model trained before a moment, and what it and the baselines said of the customers who were active there."""

    training: TrainingSet
    trained: TrainedChurn
    test: Snapshot
    said: np.ndarray
    baselines: dict[str, np.ndarray]
    seconds: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """The contract's seven."""
        return metrics(self.test.labels, self.said)

    def as_dict(self) -> dict[str, Any]:
        """What is told of one origin among several."""
        return {
            "cutoff": self.test.cutoff.isoformat(),
            "customers": len(self.said),
            "base_rate": float(self.test.labels.mean()),
            "metrics": self.metrics,
            "model": self.trained.estimator,
            "baselines": {
                name: metrics(self.test.labels, said) for name, said in self.baselines.items()
            },
        }


def evaluate(
    lake: Any,
    *,
    cutoff: datetime,
    horizon_days: int = 28,
    active_within_days: int | None = 56,
    model: str = "auto",
    origins: int = 1,
    by: Sequence[str] = (),
    tiers: tuple[float, float] | None = None,
    curve: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The contract's JSON of ``retention evaluate churn``, and what else a scientist asks.

    Trains on snapshots whose label windows end at or before ``cutoff`` and scores the customers active there.

    Parameters
    ----------
    origins : int
        Rolling origins: the cutoff and so many less one before it, one horizon apart, each with a model of its own.
        The figures at the top are the cutoff's; ``summary`` has the mean and standard deviation over all.
    by : sequence of str
        Attributes of customers to tell apart beside orders, spend, channel and tier; without it all with few values.
    tiers : (float, float), optional
        Probabilities of the high and the medium tier.
    curve : bool
        Also the learning curve: the same test for fewer customers and fewer snapshots to learn from.

    Raises
    ------
    BadInput
        Where the window after the cutoff is not over yet, the horizon is longer than the history, or an attribute is
        not there.
    TooLittleData
        Too few customers, or only one class.
    """
    check_label_window(lake, cutoff, horizon_days)
    attributes = _attributes(lake, by)
    moments = [cutoff - timedelta(days=horizon_days * number) for number in range(origins)]
    steps = origins + curve
    found = [
        judged(
            lake,
            moment,
            horizon_days=horizon_days,
            active_within_days=active_within_days,
            model=model,
            seed=seed,
            progress=part(progress, number, steps),
        )
        for number, moment in enumerate(moments)
    ]
    told = _told(found, by_segment(*_pooled(found), attributes, tiers=tiers))
    if curve:
        told["learning_curve"] = learning_curve(
            found[0], model=model, seed=seed, progress=part(progress, origins, steps)
        )
    return told


def judged(
    lake: Any,
    cutoff: datetime,
    *,
    horizon_days: int,
    active_within_days: int | None,
    model: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> Judged:
    """Train before the cutoff and score at it.

    Raises
    ------
    BadInput, TooLittleData
        See `evaluate`.
    """
    started = perf_counter()
    training = history(
        lake,
        cutoff=cutoff,
        horizon_days=horizon_days,
        active_within_days=active_within_days,
        progress=part(progress, 0, 2),
    )
    featured = perf_counter()
    trained = fit(training, model=model, seed=seed, progress=part(progress, 1, 2))
    fitted = perf_counter()
    test = take(lake, cutoff, horizon_days=horizon_days, active_within_days=active_within_days)
    labels = test.churned
    if labels is None or not len(labels) or not 0 < labels.sum() < len(labels):
        raise TooLittleData(
            gettext(
                "Of the {count} customers active at {local:%Y-%m-%d} all did the same in the "
                "{horizon_days} days after it; there is nothing to measure. Choose another "
                "--cutoff or --horizon."
            ).format(count=len(test.frame), local=lake.local(cutoff), horizon_days=horizon_days)
        )
    said = trained.predict(test)
    seconds = {
        "features": featured - started,
        "train": fitted - featured,
        "score": perf_counter() - fitted,
    }
    return Judged(training, trained, test, said, baselines.probabilities(training, test), seconds)


def _told(found: Sequence[Judged], segments: list[dict[str, Any]]) -> dict[str, Any]:
    newest = found[0]
    trained, labels, said = newest.trained, newest.test.labels, newest.said
    told = {
        **newest.as_dict(),
        "features": list(trained.columns),
        "train_rows": trained.train_rows,
        "seconds": newest.seconds,
        "horizon_days": trained.horizon_days,
        "active_within_days": trained.active_within_days,
        "rung": trained.rung,
        "calibration": trained.calibration,
        "reliability": reliability(labels, said),
        "ece_by_chance": ece_by_chance(said),
        "brier_decomposition": brier_decomposition(labels, said),
        "lift_curve": lift_curve(labels, said),
        "intervals": intervals(metrics, [(_ids(one), one.test.labels, one.said) for one in found]),
        "against": _against(found),
        "segments": segments,
    }
    if len(found) > 1:
        each = [one.as_dict() for one in found]
        told["origins"] = each
        told["summary"] = {
            "model": _summary([one["metrics"] for one in each]),
            **{
                name: _summary([one["baselines"][name] for one in each])
                for name in newest.baselines
            },
        }
    return told


def _against(found: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Log-loss less that of each baseline, on the same customers, with its interval; below 0 the model is better."""
    customers = np.concatenate([_ids(one) for one in found])
    told = {}
    for name in found[0].baselines:
        gaps = [
            log_loss_of(one.test.labels, one.said)
            - log_loss_of(one.test.labels, one.baselines[name])
            for one in found
        ]
        interval = paired(np.concatenate(gaps), customers)
        told[name] = {"log_loss": interval.mean, "low": interval.low, "high": interval.high}
    return told


def _summary(told: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over origins of each metric."""
    return {
        name: {
            "mean": float(np.mean([one[name] for one in told])),
            "sd": float(np.std([one[name] for one in told], ddof=1)),
        }
        for name in told[0]
    }


def _pooled(found: Sequence[Judged]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    return (
        pd.concat([one.test.frame for one in found], ignore_index=True),
        np.concatenate([one.test.labels for one in found]),
        np.concatenate([one.said for one in found]),
    )


def _ids(one: Judged) -> np.ndarray:
    return one.test.frame.customer_id.astype(str).to_numpy(dtype=object)


def learning_curve(
    one: Judged, *, model: str, seed: int, progress: Progress = silent
) -> list[dict[str, Any]]:
    """How log-loss falls with more customers and more snapshots to learn from, on the same test.

    Parts of the customers are drawn by a hash of their id, so that each is a part of the next larger one.

    Returns
    -------
    list of dict
        ``customers_share``, ``snapshots``, ``train_rows``, ``log_loss``, ``auc``; what cannot be learned from is left out.
    """
    every = len(one.training.snapshots)
    wanted = {(share, min(number or every, every)) for share, number in _CURVE}
    points = []
    for place, (share, number) in enumerate(sorted(wanted)):
        kept = tuple(
            snapshot.rows(_share(snapshot) < share) for snapshot in one.training.snapshots[:number]
        )
        try:
            trained = fit(
                replace(one.training, snapshots=kept, fits={}),
                model=model,
                seed=seed,
                progress=part(progress, place, len(wanted)),
            )
        except TooLittleData:
            continue
        found = metrics(one.test.labels, trained.predict(one.test))
        points.append(
            {
                "customers_share": share,
                "snapshots": number,
                "train_rows": trained.train_rows,
                "log_loss": found["log_loss"],
                "auc": found["auc"],
                "model": trained.estimator,
            }
        )
    return points


def _share(snapshot: Snapshot) -> np.ndarray:
    return snapshot.hashed / np.float64(2**64)


def _attributes(lake: Any, wanted: Sequence[str]) -> pd.DataFrame:
    """The attributes to tell apart, indexed by customer id.

    Raises
    ------
    BadInput
        Naming the attribute and those that there are.
    """
    found = attributes_of(lake, wanted)
    for name in wanted:
        if name not in found.columns:
            there = ", ".join(attributes_of(lake).columns) or "none"
            raise BadInput(
                gettext(
                    "--by {name}: no customer has an attribute of that name; with few different "
                    "values there are: {there}."
                ).format(name=name, there=there)
            )
    return found
