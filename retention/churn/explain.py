"""One customer in full: the score, its reasons, what would have made the difference, and a second opinion."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from retention.churn.counterfactual import Counterfactual, counterfactuals
from retention.churn.lime import SecondOpinion, second_opinion
from retention.churn.model import TrainedChurn
from retention.churn.score import exact_first_weights, expected_spend, population, score_table
from retention.churn.targets import Targets, predict_targets
from retention.progress import Progress, part, silent


@dataclass(frozen=True, slots=True)
class Explanation:
    """``score`` holds the columns of `retention.churn.score`; ``weights`` each group's weight in log-odds; ``note`` why not
    to take the score at its word, if at all.
    """

    score: pd.Series
    weights: dict[str, float]
    counterfactuals: tuple[Counterfactual, ...]
    second: SecondOpinion | None
    targets: Targets
    note: str

    def as_dict(self) -> dict[str, Any]:
        """What a job's result adds to the score."""
        return {
            "counterfactuals": [one.as_dict() for one in self.counterfactuals],
            "second_opinion": self.second.as_dict(self.weights) if self.second else None,
            "note": self.note,
        }


def explain(
    trained: TrainedChurn,
    lake: Any,
    as_of: datetime,
    customer_id: str,
    *,
    tier_of: Callable[[float], str],
    opinion: bool = False,
    progress: Progress = silent,
) -> Explanation | None:
    """Score and explain one customer, active or not; None where they had no order before ``as_of``.

    Parameters
    ----------
    tier_of : callable
        Churn probability → high, medium or low.
    opinion : bool
        Whether to ask for LIME's as well.
    """
    progress(0, 4, f"Features as of {lake.local(as_of):%d %b %Y}")
    people = population(lake, as_of, horizon_days=trained.horizon_days, active_within_days=None)
    places = np.flatnonzero((people.frame.customer_id == customer_id).to_numpy())
    if not len(places):
        return None
    row = int(places[0])
    customer = people.rows(np.arange(len(people.frame)) == row)
    value = expected_spend(customer, trained.horizon_days)
    weight = exact_first_weights(trained, customer, value, part(progress, 1, 4))
    progress(2, 4, "Trying what would have made the difference")
    changes = counterfactuals(trained, lake, people, row, tier_of=tier_of)
    second = None
    if opinion:
        progress(3, 4, "Asking for a second opinion")
        active = people.frame.recency_days <= (trained.active_within_days or np.inf)
        others = people.matrix(trained.columns)[active.to_numpy()]
        second = second_opinion(trained, customer.matrix(trained.columns)[0], others)
    return Explanation(
        score_table(trained, customer, value, weight).iloc[0],
        {group: float(one[0]) for group, one in weight.items()},
        tuple(changes),
        second,
        predict_targets(trained, customer, history_days=float(people.frame.tenure_days.max())),
        _silence_note(trained, float(customer.frame.recency_days.iloc[0])),
    )


def _silence_note(trained: TrainedChurn, silent_days: float) -> str:
    """What a score is worth for somebody who has been silent for longer than anybody the model has learned from."""
    if silent_days <= (trained.active_within_days or np.inf):
        return ""
    return (
        f"No order for {int(silent_days)} days: the model has learned from customers who had ordered within "
        f"{trained.active_within_days}, so here the risk is a guess, and the chances of an order are the better one."
    )
