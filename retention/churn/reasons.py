"""Explain scores by feature groups in words.

`contributions` explains the margin of the fitted model exactly, and a group's weight is the sum
over its features. Calibration is a monotone map of the margin, so it changes neither the order nor
the signs of the reasons. Weights are scaled by the slope of the calibration around the base. With
a sigmoid calibration, they add up to the calibrated log-odds minus those of the base.

A group's weight becomes a reason only with a fact that supports its direction
(`retention.churn.facts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from retention.churn import facts
from retention.churn.model_features import GROUP_OF
from retention.progress import Progress, silent
from retention.templating import LOWERS, RAISES, percent
from retention.text import gettext

if TYPE_CHECKING:  # scoring by rules needs the sentences, not scikit-learn
    from sklearn.base import BaseEstimator

    from retention.churn.contributions import AdditiveExplanation
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

    Parameters
    ----------
    by_group : dict
        Group → (n,); positive values raise the risk.
    methods : tuple of str
    error : float
        Mean standard error; 0 for exact weights.
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
    trained: "TrainedChurn", X: np.ndarray, *, progress: Progress = silent
) -> GroupWeights:
    """Compute group weights with their method and error.

    If exact weights of all rows are too expensive, the first rows get them.

    Parameters
    ----------
    trained : TrainedChurn
    X : numpy.ndarray
        (n, k) features.
    progress : Progress
    """
    from retention.churn.contributions import MAX_LEAF_ROWS, contributions

    groups = groups_of(trained.columns)
    places, slope = list(groups.values()), calibration_slope(trained.model)
    explanations: list[AdditiveExplanation] = []
    for start in range(0, len(X), CHUNK_ROWS):
        progress(start, len(X), gettext("Finding the reasons"))
        rows, exact = X[start : start + CHUNK_ROWS], MAX_LEAF_ROWS if start == 0 else 0
        explanations.append(
            contributions(
                uncalibrated(trained.model), rows, trained.reference, places, leaf_rows=exact
            )
        )
    phi = (
        np.concatenate([explanation.phi for explanation in explanations])
        if explanations
        else np.zeros(X.shape)
    )
    by_group = {group: slope * phi[:, indices].sum(axis=1) for group, indices in groups.items()}
    methods = tuple(
        dict.fromkeys(method for explanation in explanations for method in explanation.methods)
    )
    return GroupWeights(
        by_group,
        methods,
        slope * float(np.mean([explanation.error for explanation in explanations] or [0.0])),
    )


def weights_by_group(
    trained: "TrainedChurn", X: np.ndarray, *, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """Compute group weights, group → (n,) log-odds.

    Positive weights raise the risk.

    Parameters
    ----------
    trained : TrainedChurn
    X : numpy.ndarray
        (n, k) features.
    progress : Progress
    """
    return group_weights(trained, X, progress=progress).by_group


def uncalibrated(model: "BaseEstimator") -> "BaseEstimator":
    """Return the fitted model without its calibration."""
    from retention.churn.calibration import Calibrated

    return model.estimator if isinstance(model, Calibrated) else model


def calibration_slope(model: "BaseEstimator") -> float:
    """Return the slope of the calibration in log-odds around even odds.

    1 without a calibration.
    """
    from retention.churn.calibration import Calibrated

    if not isinstance(model, Calibrated):
        return 1.0
    ends = np.clip(model.map(expit(np.array([-SLOPE_RANGE, SLOPE_RANGE]))), 1e-3, 1 - 1e-3)
    slope = (
        model.slope if model.steps is None else float(np.diff(logit(ends))[0] / (2 * SLOPE_RANGE))
    )
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

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers with their features.
    weight : mapping
        Group → (n,) log-odds.
    typical : mapping
        Feature of the model → value of the median customer.
    horizon_days : int

    Returns
    -------
    list of list of dict
        ``{"feature", "text", "weight", "direction"}`` per reason; the direction is `RAISES` or
        `LOWERS`.
    """
    names = [group for group in weight if group in facts.GROUPS]
    table = (
        np.column_stack([weight[name] for name in names]) if names else np.zeros((len(frame), 0))
    )
    order = np.argsort(-table, axis=1, kind="stable")
    columns = [name for name in frame.columns if name in facts.COLUMNS]
    return [
        _customer_reasons(
            facts.Customer(row, typical, horizon_days),
            [(names[place], float(weights[place])) for place in places],
        )
        for row, weights, places in zip(
            frame[columns].to_dict("records"), table, order, strict=True
        )
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
    listed: list[dict[str, Any]],
    *,
    probability: float,
    churn_rate: float | None,
    horizon_days: int,
) -> list[dict[str, Any]]:
    """Give each direction a reason besides the season, so that every tier has one.

    A customer without a reason in a direction is there because the whole shop is, or by several
    groups of which none has a fact to show.

    Parameters
    ----------
    listed : list of dict
        As `reasons` returns it.
    probability : float
        P(churn) of the customer.
    churn_rate : float or None
        Share of the customers in the training data that churned.
    horizon_days : int
    """
    completed = list(listed)
    for direction in (RAISES, LOWERS):
        if any(
            reason["direction"] == direction and reason["feature"] != SEASON_GROUP
            for reason in listed
        ):
            continue
        raises = direction == RAISES
        if churn_rate is not None and (
            churn_rate >= probability if raises else churn_rate <= probability
        ):
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
        return gettext("{share} of the shop's customers place no order within {days} days").format(
            share=percent(churn_rate), days=horizon_days
        )
    return gettext("{share} of the shop's customers order again within {days} days").format(
        share=percent(1 - churn_rate), days=horizon_days
    )
