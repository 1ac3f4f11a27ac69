"""Compute accuracy and other properties of lists.

The others are novelty, diversity and calibration. Recall is hits / |truth|. NDCG and MAP use min(k,
|truth|) hits as the ideal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.matrices import ones_at

ACCURACY = ("recall", "ndcg", "map", "hit_rate")
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class RankingMetrics:
    """Hold mean accuracy over customers, and catalogue coverage.

    ``coverage`` is the share of the items that appear in at least one list. ``each`` holds, for
    each of `ACCURACY`, the value of each customer with a truth, in the order given.
    """

    customers: int
    recall: float
    ndcg: float
    map: float
    coverage: float
    each: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

    @property
    def hit_rate(self) -> float:
        """Share of customers with a hit."""
        return float(self.each["hit_rate"].mean()) if self.customers else 0.0

    def interval(
        self, metric: str = "ndcg", *, draws: int = DRAWS, seed: int = 0
    ) -> tuple[float, float]:
        """Return a metric's 95% bootstrap interval."""
        return interval(self.each[metric], draws=draws, seed=seed) if self.customers else (0.0, 0.0)

    def as_dict(self) -> dict[str, float]:
        """Return the metrics of the JSON report."""
        return {name: getattr(self, name) for name in ("recall", "ndcg", "map", "coverage")}


def interval(values: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a mean.

    Uses percentiles over resampled customers. For the paired difference of two rankings of the same
    customers, pass their differences.
    """
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def ranking_metrics(
    lists: Iterable[Sequence[int] | np.ndarray],
    truths: Iterable[Sequence[int] | np.ndarray],
    *,
    k: int,
    items: int,
) -> RankingMetrics:
    """Compare ranked lists with the purchased items.

    `lists`: one ranked list of distinct item positions per customer, best first. Only the first
    ``k`` count. May be empty.
    `truths`: purchased items, in the same order of customers. Customers without any are left out.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)
    values: list[tuple[float, ...]] = []
    shown: set[int] = set()
    for ranked, bought in zip(lists, truths, strict=True):
        if not len(bought):
            continue
        top = [int(item) for item in ranked[:k]]
        shown.update(top)
        truth = {int(item) for item in bought}
        hit = np.array([item in truth for item in top], dtype=float)
        ideal_hits = min(k, len(truth))
        values.append(
            (
                hit.sum() / len(truth),
                (hit * discount[: len(hit)]).sum() / ideal[ideal_hits - 1],
                (hit * np.cumsum(hit) / np.arange(1, len(hit) + 1)).sum() / ideal_hits,
                float(hit.any()),
            )
        )
    if not values:
        return RankingMetrics(0, 0.0, 0.0, 0.0, 0.0)
    each = dict(zip(ACCURACY, np.array(values).T, strict=True))
    means = {name: float(each[name].mean()) for name in ("recall", "ndcg", "map")}
    return RankingMetrics(
        len(values), coverage=len(shown) / items if items else 0.0, each=each, **means
    )


SMOOTHING = 0.01  # Steck's α; without it a category missing from the list gives infinity


def list_properties(
    lists: Sequence[np.ndarray],
    buyers: np.ndarray,
    customers: int,
    category: np.ndarray,
    tastes: csr_matrix,
) -> dict[str, float | None]:
    """Compute novelty, diversity and calibration of ranked lists.

    `buyers`: buyers of each item before the cutoff, at least 1.
    `category`: −1 if unknown; such an item is alone in its category.
    `tastes`: purchases of each customer per category before the cutoff.
    Returns: means over customers with a list; None without any. ``novelty`` (bits): mean over the
    list of −log₂(buyers/customers), as RecTools' MeanInvUserFreq. ``diversity``: share of the
    list's pairs in different categories (intra-list diversity, Hamming distance). ``calibration``:
    KL divergence (nats) of the list's category shares from those of the customer's purchases. 0
    means equal shares.

    References
    ----------
    Steck (2018), "Calibrated recommendations", RecSys, with α = 0.01.
    """
    properties: dict[str, float | None] = dict.fromkeys(("novelty", "diversity", "calibration"))
    row = np.repeat(np.arange(len(lists)), [len(ranked) for ranked in lists])
    item = np.concatenate([np.empty(0, dtype=np.int64), *lists])
    if not len(item):
        return properties
    length = np.bincount(row, minlength=len(lists))
    is_filled = length > 0
    rarity = -np.log2(buyers[item].astype(float) / customers)
    bits = np.bincount(row, weights=rarity, minlength=len(lists))
    properties["novelty"] = float((bits[is_filled] / length[is_filled]).mean())
    if not (category >= 0).any():
        return properties
    counts = ones_at(row, category[item], (len(lists), int(category.max()) + 1), float)
    ones = csr_matrix((np.ones(counts.nnz), counts.indices, counts.indptr), shape=counts.shape)
    same = counts.multiply(counts - ones).sum(axis=1)
    pairs = length * (length - 1)
    diversity = np.where(pairs > 0, 1 - np.asarray(same).ravel() / np.maximum(pairs, 1), 0.0)
    properties["diversity"] = float(diversity[is_filled].mean())
    properties["calibration"] = _calibration(counts, length, tastes)
    return properties


def _calibration(counts: csr_matrix, length: np.ndarray, tastes: csr_matrix) -> float | None:
    """Compute the mean KL divergence of lists.

    It is Σ p log(p/q̃) with q̃ = (1 − α) q + α p, over customers with purchases and a list.
    """
    purchases = np.asarray(tastes.sum(axis=1)).ravel()
    customers = np.flatnonzero((length > 0) & (purchases > 0))
    if not len(customers):
        return None
    own = csr_matrix(tastes[customers])
    row = np.repeat(np.arange(len(customers)), np.diff(own.indptr))
    share = own.data / purchases[customers][row]
    listed = np.asarray(counts[customers][row, own.indices]).ravel() / length[customers][row]
    part = share * np.log(share / ((1 - SMOOTHING) * listed + SMOOTHING * share))
    return float(np.bincount(row, weights=part, minlength=len(customers)).mean())
