"""A logistic regression of the few signals that each strong baseline orders by: steady where trees and nets have little to learn from.

Logarithms of one's own faded purchases, of how many bought the item lately, of what others' histories say, and of own and others
added up, as the mixture adds them. In a shop without tastes its order is nearly that of popularity, in a grocery that of one's own
purchases.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from retention.recommend.history import HALF_LIVES
from retention.recommend.ranking.features import NAMES

if TYPE_CHECKING:
    from retention.recommend.ranking.ranker import Examples

# What is added before the logarithm: about the least that differs from nothing.
LOGARITHMS = {
    **{f"faded_{each}": 0.01 for each in HALF_LIVES},
    "item_buyers": 0.5,
    "item_buyers_7": 0.5,
    "item_buyers_28": 0.5,
    "item_buyers_before": 0.5,
    "collaborative": 0.01,
    "neighbours": 0.01,
    "item_returned": 0.01,
    "days": 1.0,
    "visits_28": 1.0,
}
_READ = [NAMES.index(name) for name in LOGARITHMS]
SUMS = (
    ("faded_90", 0.3),
    ("faded_90", 1.0),
    ("faded_240", 1.0),
)  # own purchases + weight × collaborative
MOST_ROWS = 60_000
RIDGE = 10.0  # of standardised signals


def fit(examples: "Examples", *, seed: int = 0) -> dict[str, np.ndarray]:
    """Learn the log-odds of being bought.

    Returns
    -------
    dict of str to ndarray
        ``mean`` and ``scale`` of the signals, and ``weights``, of which the last is the intercept.
    """
    from sklearn.linear_model import LogisticRegression

    some = examples.drawn(MOST_ROWS, seed)
    some = some if some.decisive else examples
    view = _signals(some.view)
    mean, scale = view.mean(axis=0), view.std(axis=0) + 1e-9
    fitted = LogisticRegression(C=1 / RIDGE, max_iter=200).fit(
        (view - mean) / scale, some.bought, sample_weight=some.weight / some.weight.mean()
    )
    return {"mean": mean, "scale": scale, "weights": np.r_[fitted.coef_[0], fitted.intercept_]}


def scores(learned: Mapping[str, np.ndarray], view: np.ndarray) -> np.ndarray:
    """Log-odds (rows,) of the ranker's view."""
    standard = (_signals(view) - learned["mean"]) / learned["scale"]
    found: np.ndarray = standard @ learned["weights"][:-1] + learned["weights"][-1]
    return found


def _signals(view: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(view[:, _READ].astype(float)).clip(min=0)
    logarithms = np.log(values + list(LOGARITHMS.values()))
    told, logarithm = (dict(zip(LOGARITHMS, each.T, strict=True)) for each in (values, logarithms))
    own = (told["days"] > 0).astype(float)
    sums = (np.log(told[mine] + weight * told["collaborative"] + 0.01) for mine, weight in SUMS)
    return np.column_stack(
        [
            logarithms,
            own,
            own * logarithm["item_buyers_28"],
            own * logarithm["item_returned"],
            *sums,
        ]
    )
