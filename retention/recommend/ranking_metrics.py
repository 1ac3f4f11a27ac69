"""Compute accuracy and other properties of lists.

The others are novelty, diversity and calibration. Recall is hits / |truth|. NDCG and MAP use min(k,
|truth|) hits as the ideal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

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
        """Return a metric's 95% bootstrap interval.

        Parameters
        ----------
        metric : str
            One of `ACCURACY`.
        draws, seed : int
            As in `interval`.
        """
        return interval(self.each[metric], draws=draws, seed=seed) if self.customers else (0.0, 0.0)

    def as_dict(self) -> dict[str, float]:
        """Return the metrics of the JSON report."""
        return {
            "recall": self.recall,
            "ndcg": self.ndcg,
            "map": self.map,
            "coverage": self.coverage,
        }


def interval(values: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a mean.

    Uses percentiles over resampled customers. For the paired difference of two rankings of the same
    customers, pass their differences.

    Parameters
    ----------
    values : ndarray
        One per customer.
    draws, seed : int
        Number of resamples with replacement; seed of the generator.

    Returns
    -------
    tuple of float
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

    Parameters
    ----------
    lists : iterable of sequences of int
        One ranked list of distinct item positions per customer, best first. Only the first ``k``
        count. May be empty.
    truths : iterable of sequences of int
        Purchased items, in the same order of customers. Customers without any are left out.
    k, items : int
        Length of the list; number of items that could be shown.

    Returns
    -------
    RankingMetrics
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


@dataclass(frozen=True, slots=True)
class ListProperties:
    """Hold means over customers with a non-empty list.

    None without categories.
    """

    novelty: float | None
    diversity: float | None
    calibration: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the values for a report."""
        return {
            "novelty": self.novelty,
            "diversity": self.diversity,
            "calibration": self.calibration,
        }


def list_properties(
    lists: Sequence[np.ndarray],
    *,
    buyers: np.ndarray,
    customers: int,
    category: np.ndarray,
    tastes: csr_matrix,
) -> ListProperties:
    """Compute novelty, diversity and calibration of ranked lists.

    Parameters
    ----------
    lists : sequence of ndarray of int
        Item positions, one list per customer.
    buyers : ndarray (items,)
        Buyers of each item before the cutoff, at least 1.
    customers : int
        Number of customers.
    category : ndarray of int (items,)
        −1 if unknown; such an item is alone in its category.
    tastes : csr_matrix (lists × categories)
        Purchases of each customer per category before the cutoff.

    Returns
    -------
    ListProperties
        ``novelty`` (bits): mean over the list of −log₂(buyers/customers), as RecTools'
        MeanInvUserFreq. ``diversity``: share of the list's pairs in different categories
        (intra-list diversity, Hamming distance). ``calibration``: KL divergence (nats) of the
        list's category shares from those of the customer's purchases. 0 means equal shares.

    References
    ----------
    Steck (2018), "Calibrated recommendations", RecSys, with α = 0.01.
    """
    row = np.repeat(np.arange(len(lists)), [len(ranked) for ranked in lists])
    item = np.concatenate([np.empty(0, dtype=np.int64), *lists])
    if not len(item):
        return ListProperties(None, None, None)
    length = np.bincount(row, minlength=len(lists))
    is_filled = length > 0
    bits = np.bincount(
        row, weights=-np.log2(buyers[item].astype(float) / customers), minlength=len(lists)
    )
    novelty = float((bits[is_filled] / length[is_filled]).mean())
    if not (category >= 0).any():
        return ListProperties(novelty, None, None)
    counts, uncategorised = _category_counts(
        row, category[item], (len(lists), int(category.max()) + 1)
    )
    same = counts.multiply(counts - _ones(counts)).sum(axis=1)
    pairs = length * (length - 1)
    diversity = np.where(pairs > 0, 1 - np.asarray(same).ravel() / np.maximum(pairs, 1), 0.0)
    return ListProperties(
        novelty, float(diversity[is_filled].mean()), _calibration(counts, uncategorised, tastes)
    )


def _category_counts(
    row: np.ndarray, code: np.ndarray, shape: tuple[int, int]
) -> tuple[csr_matrix, np.ndarray]:
    """Count each list's items by category.

    Items without a category are counted apart.
    """
    known = code >= 0
    counts = csr_matrix((np.ones(int(known.sum())), (row[known], code[known])), shape=shape)
    return counts, np.bincount(row[~known], minlength=shape[0])


def _ones(counts: csr_matrix) -> csr_matrix:
    return csr_matrix((np.ones(counts.nnz), counts.indices, counts.indptr), shape=counts.shape)


def _calibration(counts: csr_matrix, uncategorised: np.ndarray, tastes: csr_matrix) -> float | None:
    """Compute the mean KL divergence of lists.

    It is Σ p log(p/q̃) with q̃ = (1 − α) q + α p, over customers with purchases and a list.
    """
    length = np.asarray(counts.sum(axis=1)).ravel() + uncategorised
    purchases = np.asarray(tastes.sum(axis=1)).ravel()
    customers = np.flatnonzero((length > 0) & (purchases > 0))
    if not len(customers):
        return None
    own = csr_matrix(tastes[customers])
    row = np.repeat(np.arange(len(customers)), np.diff(own.indptr))
    share = own.data / purchases[customers][row]
    listed = np.asarray(counts[customers][row, own.indices]).ravel() / length[customers][row]
    is_positive = share > 0
    part = share[is_positive] * np.log(
        share[is_positive]
        / ((1 - SMOOTHING) * listed[is_positive] + SMOOTHING * share[is_positive])
    )
    return float(np.bincount(row[is_positive], weights=part, minlength=len(customers)).mean())
