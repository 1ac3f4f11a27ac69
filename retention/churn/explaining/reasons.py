"""Explain scores by feature groups in words.

`contributions` explains the margin of the fitted model exactly, and a group's weight is the sum
over its features. Calibration is a monotone map of the margin, so it changes neither the order nor
the signs of the reasons. Weights are scaled by the slope of the calibration around the base. With
a sigmoid calibration, they add up to the calibrated log-odds minus those of the base.

A group's weight becomes a reason only with a fact that supports its direction
(`retention.churn.explaining.facts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from retention.churn.calibration import Calibrated
from retention.churn.explaining import facts
from retention.churn.explaining.contributions import MAX_LEAF_ROWS, contributions
from retention.churn.model_features import GROUP_OF
from retention.progress import Progress, silent
from retention.templating import LOWERS, RAISES, percent
from retention.text import gettext

if TYPE_CHECKING:  # scoring by rules needs the sentences, not scikit-learn
    from sklearn.base import BaseEstimator

    from retention.churn.model import TrainedChurn

SEASON_GROUP = "season"
OTHER = "other"  # feature of a reason that belongs to no group
MAX_REASONS = 3  # per customer and direction
MIN_WEIGHT = 0.02  # log-odds; smaller weights are noise
CHUNK_ROWS = 4096  # customers per chunk; bounds memory and the delay of a cancellation
SLOPE_RANGE = 2.0  # log-odds around the base, to measure the slope of the calibration


@dataclass(frozen=True, slots=True)
class GroupWeights:
    """Weights of feature groups in log-odds.

    `error`: mean standard error; 0 for exact weights.
    """

    by_group: dict[str, np.ndarray]
    methods: tuple[str, ...]
    error: float


def groups_of(columns: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the column indices of each feature group."""
    groups: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        groups.setdefault(GROUP_OF[column], []).append(place)
    return groups


def group_weights(
    trained: "TrainedChurn",
    X: np.ndarray,
    *,
    leaf_rows: int = MAX_LEAF_ROWS,
    progress: Progress = silent,
) -> GroupWeights:
    """Compute group weights with their method and error.

    `leaf_rows`: as of `contributions`. If exact weights of all rows are too expensive, the first
    rows get them.
    """
    groups = groups_of(trained.columns)
    places, slope = list(groups.values()), calibration_slope(trained.model)
    model, methods, errors = uncalibrated(trained.model), dict[str, None](), []
    by_group = {group: np.empty(len(X)) for group in groups}
    for start in range(0, len(X), CHUNK_ROWS):
        progress(start, len(X), gettext("Finding the reasons"))
        rows, exact = slice(start, start + CHUNK_ROWS), leaf_rows if start == 0 else 0
        each = contributions(model, X[rows], trained.reference, places, leaf_rows=exact)
        for group, indices in groups.items():
            by_group[group][rows] = slope * each.phi[:, indices].sum(axis=1)
        methods |= dict.fromkeys(each.methods)
        errors.append(each.error)
    return GroupWeights(by_group, tuple(methods), slope * float(np.mean(errors or [0.0])))


def uncalibrated(model: "BaseEstimator") -> "BaseEstimator":
    """Return the fitted model without its calibration."""
    return model.estimator if isinstance(model, Calibrated) else model


def calibration_slope(model: "BaseEstimator") -> float:
    """Return the slope of the calibration in log-odds around even odds. 1 without a calibration."""
    if not isinstance(model, Calibrated):
        return 1.0
    ends = np.clip(model.map(expit(np.array([-SLOPE_RANGE, SLOPE_RANGE]))), 1e-3, 1 - 1e-3)
    around = float(np.diff(logit(ends))[0] / (2 * SLOPE_RANGE))
    slope = model.slope if model.steps is None else around
    return slope if slope > 0 else 1.0


def reasons(
    frame: pd.DataFrame,
    weight: Mapping[str, np.ndarray],
    *,
    typical: Mapping[str, float],
    horizon_days: int,
) -> list[list[dict[str, Any]]]:
    """Return the strongest reasons per customer in both directions.

    Groups that raise the risk come first, then those that lower it, the strongest first. A group
    without a fact that supports its direction is left out. In each direction the season is last,
    because it affects all customers and policies use the first reason.

    Returns: ``{"feature", "text", "weight", "direction"}`` per reason; the direction is `RAISES` or
    `LOWERS`.
    """
    names = [group for group in weight if group in facts.GROUPS]
    table = np.array([weight[name] for name in names]).reshape(len(names), len(frame)).T
    order = np.argsort(-table, axis=1, kind="stable")
    columns = [name for name in frame.columns if name in facts.COLUMNS]
    pairs = zip(frame[columns].to_dict("records"), table, order, strict=True)
    return [
        _customer_reasons(
            facts.Customer(row, typical, horizon_days),
            [(names[place], float(weights[place])) for place in places],
        )
        for row, weights, places in pairs
    ]


def _customer_reasons(
    customer: facts.Customer, weights: list[tuple[str, float]]
) -> list[dict[str, Any]]:
    """Return the reasons of a customer from group weights in descending order."""
    listed: list[dict[str, Any]] = []
    texts: set[str] = set()
    for direction, sorted_weights in ((RAISES, weights), (LOWERS, weights[::-1])):
        raises = direction == RAISES
        chosen: list[dict[str, Any]] = []
        for group, weight in sorted_weights:
            if len(chosen) == MAX_REASONS or (weight if raises else -weight) < MIN_WEIGHT:
                break
            sentences = facts.sentences(group, customer, raises)
            text = next((sentence for sentence in sentences if sentence not in texts), None)
            if text is not None:
                texts.add(text)
                chosen.append(facts.stored_reason(group, text, weight, direction))
        listed += sorted(chosen, key=lambda reason: reason["feature"] == SEASON_GROUP)
    return listed


def complete_reasons(
    listed: list[dict[str, Any]], *, probability: float, churn_rate: float | None, horizon_days: int
) -> list[dict[str, Any]]:
    """Give each direction a reason besides the season, so that every tier has one.

    A customer without a reason in a direction is there because the whole shop is, or by several
    groups of which none has a fact to show.

    `churn_rate`: share of the customers in the training data that churned.
    """
    completed = list(listed)
    told = {reason["direction"] for reason in listed if reason["feature"] != SEASON_GROUP}
    for direction in (RAISES, LOWERS):
        if direction in told:
            continue
        raises = direction == RAISES
        explains = churn_rate is not None and (
            churn_rate >= probability if raises else churn_rate <= probability
        )
        if churn_rate is not None and explains:
            text = _shop_text(churn_rate, raises, horizon_days)
        else:
            text = gettext("several small signs together, none of which stands out")
        completed.append(facts.stored_reason(OTHER, text, 0.0, direction))
    return sorted(
        completed,
        key=lambda reason: (reason["direction"] != RAISES, reason["feature"] == SEASON_GROUP),
    )


def _shop_text(churn_rate: float, raises: bool, horizon_days: int) -> str:
    if raises:
        text = gettext("{share} of the shop's customers place no order within {days} days")
        return text.format(share=percent(churn_rate), days=horizon_days)
    text = gettext("{share} of the shop's customers order again within {days} days")
    return text.format(share=percent(1 - churn_rate), days=horizon_days)
