"""What else is asked of a customer than churn: will they order within 7, 30, 90 days, and when is the next order due?

Learned at each retrain from the snapshots that churn is learned from, and kept inside the model's artefact; the rules
rung, which has learned nothing, goes by the purchase model's closed form.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.churn.model_features import purchase_history
from retention.churn.snapshots import Snapshot, TrainingSet, days_to_next_purchase
from retention.value import purchase_intent

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn

PARAMETER = "intent"  # its name among a model's parameters
MIN_HISTORY_DAYS = purchase_intent.HORIZONS[-1]
EARLY, MIDDLE, LATE = 0.1, 0.5, 0.9  # of those who order within 90 days, by when


@dataclass(frozen=True, slots=True)
class Targets:
    """For (n,) customers: P(order) within each horizon, and when the next order falls if it comes within 90 days: by
    ``early`` with a tenth of the chance, by ``middle`` with half, by ``late`` with nine tenths (days). ``note`` says
    instead why there are none.
    """

    within: dict[int, np.ndarray]
    early: np.ndarray
    middle: np.ndarray
    late: np.ndarray
    note: str = ""

    def of(self, place: int, as_of: datetime) -> dict[str, Any]:
        """One customer's, for a job's result."""
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


def fit_intent(lake: Any, training: TrainingSet, columns: tuple[str, ...]) -> dict[str, Any]:
    """A model of intent, as JSON, from snapshots already taken; nothing at or after their cutoff is seen."""
    past = []
    for snapshot in training.snapshots:
        wait = days_to_next_purchase(
            lake, snapshot.frame.customer_id, snapshot.cutoff, training.cutoff
        )
        followed = (training.cutoff - snapshot.cutoff) / timedelta(days=1)
        past.append(
            purchase_intent.IntentSample(
                snapshot.matrix(columns), _closed_form_hazards(snapshot), wait, followed
            )
        )
    return purchase_intent.fit(columns, past).as_dict()


def predict_targets(
    trained: "TrainedChurn | None", snapshot: Snapshot, *, history_days: float
) -> Targets:
    """Intent of the customers of a snapshot: the shape in time is the hazards', the level that of the churn model.

    Of its horizon the churn model knows more than the hazards do, so each customer's are raised or lowered until they agree
    with it: nobody is likelier to order within 28 days than within 30. Whoever has been silent for longer than those both
    learned from is told the closed form's, which is fitted on everybody: what was learned of the others says too much of them.

    Parameters
    ----------
    trained : TrainedChurn or None
        The churn model that carries a model of intent; without one the closed form speaks.
    history_days : float
        How long the shop's history is; below 90 days nothing is said.
    """
    if history_days < MIN_HISTORY_DAYS:
        text = f"Purchase intent needs {MIN_HISTORY_DAYS} days of history, and there are {int(history_days)}."
        return Targets({}, np.empty(0), np.empty(0), np.empty(0), text)
    hazards = closed = _closed_form_hazards(snapshot)
    held = trained.parameters.get(PARAMETER) if trained else None
    if held:
        model = purchase_intent.Intent.from_dict(held)
        hazards = model.hazards(snapshot.matrix(model.columns), closed)
    if trained:
        known = (snapshot.frame.recency_days <= (trained.active_within_days or np.inf)).to_numpy()
        level = purchase_intent.anchor(
            hazards, _log_silence(snapshot, hazards, trained), trained.predict(snapshot)
        )
        hazards = np.where(known[:, None], level, closed)
    return Targets(
        {
            days: purchase_intent.order_probability(hazards, days)
            for days in purchase_intent.HORIZONS
        },
        purchase_intent.order_quantile(hazards, EARLY),
        purchase_intent.order_quantile(hazards, MIDDLE),
        purchase_intent.order_quantile(hazards, LATE),
    )


def _log_silence(snapshot: Snapshot, hazards: np.ndarray, trained: "TrainedChurn") -> np.ndarray:
    """Logarithm of P(no order within the model's horizon) by the hazards, (n,); beyond their last day as the closed form goes on."""
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
