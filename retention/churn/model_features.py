"""Snapshot features from fitted models: BG/NBD and buying states.

They complement the catalogue's features, which come from events alone.
"""

import re

import numpy as np
import pandas as pd
from scipy.special import logit

from retention.features import FEATURES, quarters
from retention.features.catalogue import DERIVED
from retention.value import bgnbd, hidden_markov

SEASON_FEATURES = tuple(feature.name for feature in DERIVED if feature.name.startswith("season_"))
# forecast feature → the observed one, used in training
OBSERVED_SEASON = {"season_ahead": "season_now", "season_no_purchase": "season_no_purchase_now"}
BGNBD_FEATURES = tuple(feature.name for feature in DERIVED if feature.name.startswith("bg_"))
GROUP_OF = {feature.name: feature.group for feature in (*FEATURES, *DERIVED)}
_MEANING = {feature.name: feature.meaning for feature in (*FEATURES, *DERIVED)}


def meaning(feature: str, horizon_days: int) -> str:
    """Return the catalogue's description with days instead of H: "gaps of 28 days or longer"."""
    return re.sub(
        r"\b(\d*)H(?:/(\d))?\b(?: days)?",
        lambda part: f"{horizon_days * int(part[1] or 1) / int(part[2] or 1):g} days",
        _MEANING[feature],
    )


def bgnbd_features(
    fitted: bgnbd.BgNbd, frame: pd.DataFrame, horizon_days: int
) -> dict[str, np.ndarray]:
    """Compute the features of a fitted BG/NBD, name → (n,).

    `frame`: (n,) customers with the catalogue's features.
    """
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
    """Compute the features of fitted buying states, name → (n,).

    `counts`, `begun`: as `order_day_counts` returns them.
    """
    now = fitted.now(counts, begun)
    silent = np.clip(fitted.no_purchase(now, quarters.PER_HORIZON), 1e-4, 1 - 1e-4)
    return {
        "states_no_purchase": logit(silent),
        "states_later": fitted.active(now, 2 * quarters.PER_HORIZON),
    }


def purchase_history(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, t_x and T of each customer, (n,) each.

    These are repeat order days, days from the first to the last order, and days since the first.
    """
    age = frame.tenure_days.to_numpy(dtype=float)
    return (
        frame.order_days.to_numpy(dtype=float) - 1,
        np.maximum(age - frame.recency_days.to_numpy(dtype=float), 0),
        age,
    )
