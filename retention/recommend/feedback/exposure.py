"""How likely each place of a list is looked at: without that, the first place looks better than what stands on it.

The model is the position-based one: a click is an item that is looked at and liked, P(click) = θ(place) · γ(item). Both are
fitted by Poisson maximum likelihood, in turns; that they can be told apart rests on the same item standing at several places.
Where there are few clicks it stays near the stated prior, 1 / log₂(1 + place), the discount of NDCG.
Source: Joachims, Swaminathan, Schnabel 2017; Wang et al. 2018.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

PSEUDO = 50.0  # clicks at each place that the prior is worth
LEAST = 0.05  # nothing weighs more than twenty times
TURNS = 200


def prior(places: int) -> dict[int, float]:
    """Place (from 1) → chance that it is looked at, relative to the first.

    >>> {place: round(chance, 3) for place, chance in prior(3).items()}
    {1: 1.0, 2: 0.631, 3: 0.5}
    """
    return {place: float(1 / np.log2(1 + place)) for place in range(1, places + 1)}


def examined(seen: "pd.DataFrame") -> dict[int, float]:
    """Estimated from what was shown to customers, drawn towards the prior.

    Parameters
    ----------
    seen : DataFrame
        ``position, item_id, source, clicked``; one line an item shown.

    Returns
    -------
    dict
        As `prior`, at least `LEAST` and at most 1; the prior itself where nothing was clicked.
    """
    if seen.empty:
        return {}
    known = prior(int(seen["position"].max()))
    counted = (
        seen.groupby(["position", "item_id", "source"])["clicked"]
        .agg(["size", "sum"])
        .reset_index()
    )
    place = counted["position"].to_numpy() - 1
    liked = counted.groupby(["item_id", "source"]).ngroup().to_numpy()
    clicks = np.bincount(place, weights=counted["sum"], minlength=len(known))
    if not clicks.sum():
        return known
    theta = _fitted(
        place, liked, counted["size"].to_numpy(float), counted["sum"].to_numpy(float), len(known)
    )
    before = np.array(list(known.values()))
    mixed = (clicks * theta + PSEUDO * before) / (clicks + PSEUDO)
    mixed = (mixed / mixed[0]).clip(LEAST, 1.0)
    return {at: float(chance) for at, chance in enumerate(mixed, 1)}


def _fitted(
    place: np.ndarray, liked: np.ndarray, shown: np.ndarray, clicks: np.ndarray, places: int
) -> np.ndarray:
    """θ relative to the first place, by fitting θ and γ in turns; 0 where a place was never shown."""
    theta = np.ones(places)
    of_place = np.bincount(place, weights=clicks, minlength=places)
    of_item = np.bincount(liked, weights=clicks)
    for _ in range(TURNS):
        gamma = of_item / np.maximum(np.bincount(liked, weights=shown * theta[place]), 1e-12)
        expected = np.bincount(place, weights=shown * gamma[liked], minlength=places)
        fresh = of_place / np.maximum(expected, 1e-12)
        fresh /= fresh[0] if fresh[0] > 0 else max(fresh.max(), 1e-12)
        if np.abs(fresh - theta).max() < 1e-6:
            break
        theta = fresh
    return theta
