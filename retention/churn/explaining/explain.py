"""Explain the score of a single customer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retention.churn.explaining.clauses import Evidence
from retention.churn.explaining.counterfactual import Counterfactual, counterfactuals
from retention.churn.explaining.lime import SecondOpinion, second_opinion
from retention.churn.explaining.reasons import group_weights
from retention.churn.model import TrainedChurn
from retention.churn.population import expected_spend, population
from retention.churn.score import evidence_table, score_table
from retention.churn.targets import Targets, predict_targets
from retention.progress import Progress, part, silent
from retention.text import gettext
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake


@dataclass(frozen=True, slots=True)
class Explanation:
    """Score, reasons and alternatives of one customer.

    `score`: columns of `retention.churn.score`.
    `weights`: weight of each feature group in log-odds.
    `note`: caveat about the score; may be empty.
    `evidence`: order pattern and clauses.
    `average`: mean probability of the active customers; None if this one is not active.
    """

    score: pd.Series
    weights: dict[str, float]
    counterfactuals: tuple[Counterfactual, ...]
    second: SecondOpinion | None
    targets: Targets
    note: str
    evidence: Evidence
    average: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that a job result adds to the score."""
        return {
            "counterfactuals": [change.as_dict() for change in self.counterfactuals],
            "second_opinion": self.second.as_dict(self.weights) if self.second else None,
            "note": self.note,
            "average": self.average,
        }


def explain(
    trained: TrainedChurn,
    lake: "Lake",
    as_of: datetime,
    customer_id: str,
    *,
    tier_of: Callable[[float], str],
    opinion: bool = False,
    progress: Progress = silent,
) -> Explanation | None:
    """Score and explain one customer, active or not.

    `tier_of`: churn probability → high, medium or low.
    Returns: none without an order before ``as_of``.
    """
    progress(0, 4, gettext("Features as of {day:%d %b %Y}").format(day=lake.local(as_of)))
    # The features compare a customer with all others, so one customer's need everybody's.
    people = population(lake, as_of, Window(trained.horizon_days, None))
    places = np.flatnonzero((people.frame.customer_id == customer_id).to_numpy())
    if not len(places):
        return None
    row = int(places[0])
    customer = people.rows(np.arange(len(people.frame)) == row)
    value = expected_spend(customer, trained.horizon_days)
    X, told = customer.matrix(trained.columns), part(progress, 1, 4)
    weight = group_weights(trained, X, progress=told).by_group
    progress(2, 4, gettext("Trying what would have made the difference"))
    changes = counterfactuals(trained, lake, people, row, tier_of=tier_of)
    active = (people.frame.recency_days <= (trained.active_within_days or np.inf)).to_numpy()
    others = people.matrix(trained.columns)[active]
    second = None
    if opinion:
        progress(3, 4, gettext("Asking for a second opinion"))
        second = second_opinion(trained, X[0], others)
    return Explanation(
        score_table(trained, customer, value, weight).iloc[0],
        {group: float(values[0]) for group, values in weight.items()},
        tuple(changes),
        second,
        predict_targets(trained, customer, history_days=float(people.frame.tenure_days.max())),
        _silence_note(trained, float(customer.frame.recency_days.iloc[0])),
        evidence_table(trained, customer, weight).of([customer_id])[customer_id],
        float(trained.probability(others).mean()) if active[row] else None,
    )


def _silence_note(trained: TrainedChurn, silent_days: float) -> str:
    """Return a caveat for very long silence.

    It concerns customers silent for longer than the training data. Empty for others.
    """
    if silent_days <= (trained.active_within_days or np.inf):
        return ""
    return gettext(
        "No order for {silent_days} days: the model has learned from customers who had ordered "
        "within {active_within_days}, so here the risk is a guess, and the chances of an order "
        "are the better one."
    ).format(silent_days=int(silent_days), active_within_days=trained.active_within_days)
