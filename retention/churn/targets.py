"""Predict purchase intent and the next order date.

Intent is P(order within 7, 30 and 90 days). The model of purchase intent is fitted at each retrain
on the same snapshots and stored in the churn model's artefact. Without a model, the closed form of
the purchase model is used.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.churn.model_features import purchase_history
from retention.churn.snapshots import Snapshot, days_to_next_purchase
from retention.churn.training_set import TrainingSet
from retention.text import gettext
from retention.value import purchase_intent

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn
    from retention.lake import Lake

PARAMETER = "intent"  # key in the parameters of a model
MAX_INTENT_ROWS = 500_000  # of all snapshots; the fits copy them several times
MIN_HISTORY_DAYS = purchase_intent.HORIZONS[-1]
EARLY, MIDDLE, LATE = 0.1, 0.5, 0.9  # quantiles of the next order within 90 days


@dataclass(frozen=True, slots=True)
class Targets:
    """Order targets of n customers.

    `within`: days → (n,) P(order within them).
    `early`, `middle`, `late`: (n,) days: 10%, 50% and 90% quantiles of the next order, given that
    it comes within 90 days.
    """

    within: dict[int, np.ndarray]
    early: np.ndarray
    middle: np.ndarray
    late: np.ndarray
    note: str = ""

    def of(self, place: int, as_of: datetime) -> dict[str, Any]:
        """Return one customer's targets for job results."""
        if self.note:
            return dict.fromkeys(("intent", "next_order_at", "next_order_between"), None) | {
                "intent_note": self.note
            }
        early, middle, late = (
            (as_of + timedelta(days=round(float(days[place]), 3))).isoformat()
            for days in (self.early, self.middle, self.late)
        )
        return {
            "intent": {f"{days}d": round(float(p[place]), 4) for days, p in self.within.items()},
            "next_order_at": middle,
            "next_order_between": [early, late],
            "intent_note": "",
        }


def fit_intent(lake: "Lake", training: TrainingSet, columns: tuple[str, ...]) -> dict[str, Any]:
    """Fit the model of purchase intent and return it as JSON.

    `training`: events at or after its cutoff are not used. More than `MAX_INTENT_ROWS` rows are
    thinned evenly.
    """
    samples = []
    step = max(1.0, sum(len(own.frame) for own in training.snapshots) / MAX_INTENT_ROWS)
    for every in training.snapshots:
        keep = np.zeros(len(every.frame), dtype=bool)
        keep[np.arange(0, len(keep), step).astype(int)] = True
        snapshot = every.rows(keep)
        since, customers = snapshot.cutoff, snapshot.frame.customer_id
        wait = days_to_next_purchase(lake, customers, since, training.cutoff)
        observed_days = (training.cutoff - since) / timedelta(days=1)
        X, hazards = snapshot.matrix(columns), _closed_form_hazards(snapshot)
        samples.append(purchase_intent.IntentSample(X, hazards, wait, observed_days))
    return purchase_intent.fit(columns, samples).as_dict()


def predict_targets(
    trained: "TrainedChurn | None", snapshot: Snapshot, *, history_days: float
) -> Targets:
    """Predict the order targets of a snapshot.

    The hazards give the shape over time. The churn model knows more about its own horizon, so each
    customer's hazards are adjusted to its probability. An order within 28 days is then never more
    likely than one within 30. Customers who have been silent for longer than the training data get
    the closed form, which is fitted on all buyers.

    `history_days`: length of the shop's history; below 90 days there are no targets.
    """
    if history_days < MIN_HISTORY_DAYS:
        text = gettext("Purchase intent needs {needed} days of history, and there are {available}.")
        note = text.format(needed=MIN_HISTORY_DAYS, available=int(history_days))
        return Targets({}, np.empty(0), np.empty(0), np.empty(0), note)
    hazards = closed_form = _closed_form_hazards(snapshot)
    stored = trained.parameters.get(PARAMETER) if trained else None
    if stored:
        model = purchase_intent.Intent.from_dict(stored)
        hazards = model.hazards(snapshot.matrix(model.columns), closed_form)
    if trained:
        longest = trained.active_within_days or np.inf
        is_known = (snapshot.frame.recency_days <= longest).to_numpy()
        silence = _log_silence(snapshot, hazards, trained)
        anchored = purchase_intent.anchor(hazards, silence, trained.predict(snapshot))
        hazards = np.where(is_known[:, None], anchored, closed_form)
    horizons = purchase_intent.HORIZONS
    early, middle, late = (
        purchase_intent.order_quantile(hazards, part) for part in (EARLY, MIDDLE, LATE)
    )
    chances = {days: purchase_intent.order_probability(hazards, days) for days in horizons}
    return Targets(chances, early, middle, late)


def _log_silence(snapshot: Snapshot, hazards: np.ndarray, trained: "TrainedChurn") -> np.ndarray:
    """Return log P(no order within the horizon), (n,).

    Beyond the last day of the hazards, the closed form extends them.
    """
    days = float(trained.horizon_days)
    silent = purchase_intent.log_silence(hazards, min(days, MIN_HISTORY_DAYS))
    if days > MIN_HISTORY_DAYS:
        history = purchase_history(snapshot.frame)
        later, sooner = (
            snapshot.purchases.no_purchase(*history, end) for end in (days, MIN_HISTORY_DAYS)
        )
        silent += np.log(np.maximum(later, 1e-300) / np.maximum(sooner, 1e-300))
    return silent


def _closed_form_hazards(snapshot: Snapshot) -> np.ndarray:
    x, t_x, age = purchase_history(snapshot.frame)
    return purchase_intent.closed_form_hazards(
        [snapshot.purchases.no_purchase(x, t_x, age, end) for end in purchase_intent.EDGES[1:]]
    )
