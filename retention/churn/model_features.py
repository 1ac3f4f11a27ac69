"""Features of a snapshot beyond the catalogue: what closed forms and buying states, fitted on its customers, say of each."""

import numpy as np
import pandas as pd
from scipy.special import logit

from retention.features import FEATURES, quarters
from retention.features.catalogue import DERIVED
from retention.value import bgnbd, hidden_markov

SEASON_FEATURES = tuple(feature.name for feature in DERIVED if feature.name.startswith("season_"))
OBSERVED_SEASON = {
    "season_ahead": "season_now",
    "season_no_purchase": "season_no_purchase_now",
}  # what learning is told
BGNBD_FEATURES = tuple(feature.name for feature in DERIVED if feature.name.startswith("bg_"))
GROUP_OF = {feature.name: feature.group for feature in (*FEATURES, *DERIVED)}
MEANING = {feature.name: feature.meaning for feature in (*FEATURES, *DERIVED)}


def bgnbd_features(
    fitted: bgnbd.BgNbd, frame: pd.DataFrame, horizon_days: int
) -> dict[str, np.ndarray]:
    """What a fitted BG/NBD says of each customer, name → (n,); see `DERIVED`."""
    x, t_x, age = purchase_history(frame)
    if not len(frame):
        return dict.fromkeys((*BGNBD_FEATURES, "recency_share"), np.empty(0))
    return {
        "bg_no_purchase": fitted.no_purchase(x, t_x, age, horizon_days),
        "bg_alive": fitted.alive(x, t_x, age),
        "bg_rate": fitted.rate_if_alive(x, age) * horizon_days,
        "bg_expected": fitted.expected(x, t_x, age, horizon_days),
        "recency_share": 1 - t_x / np.maximum(age, 1),
    }


def buying_state_features(
    fitted: hidden_markov.BuyingStates, counts: np.ndarray, begun: np.ndarray
) -> dict[str, np.ndarray]:
    """What fitted buying states say of each customer, name → (n,), from `quarters.order_day_counts`; see `DERIVED`."""
    now = fitted.now(counts, begun)
    silent = np.clip(fitted.no_purchase(now, quarters.PER_HORIZON), 1e-4, 1 - 1e-4)
    return {
        "states_no_purchase": logit(silent),
        "states_later": fitted.active(now, 2 * quarters.PER_HORIZON),
    }


def purchase_history(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (repeat order days), t_x and T (days) of each customer, each (n,)."""
    age = frame.tenure_days.to_numpy(dtype=float)
    return (
        frame.order_days.to_numpy(dtype=float) - 1,
        np.maximum(age - frame.recency_days.to_numpy(dtype=float), 0),
        age,
    )
