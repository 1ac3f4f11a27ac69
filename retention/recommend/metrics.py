"""Ranking metrics to the definition of the contract: recall = hits/|truth|; NDCG and MAP with min(k, |truth|) as the ideal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

ACCURACY = ("recall", "ndcg", "map", "hit_rate")
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over customers, and the share of the items that appear in anybody's list."""

    customers: int
    recall: float
    ndcg: float
    map: float
    coverage: float
    each: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    """For each of `ACCURACY` the value of each customer that counts, in the order given."""

    @property
    def hit_rate(self) -> float:
        """Share of the customers with at least one hit."""
        return float(self.each["hit_rate"].mean()) if self.customers else 0.0

    def interval(
        self, metric: str = "ndcg", *, draws: int = DRAWS, seed: int = 0
    ) -> tuple[float, float]:
        """Ninety-five in a hundred bootstrap means of a metric lie between these; see `interval`."""
        return interval(self.each[metric], draws=draws, seed=seed) if self.customers else (0.0, 0.0)

    def as_dict(self) -> dict[str, float]:
        """The contract's ``metrics``."""
        return {
            "recall": self.recall,
            "ndcg": self.ndcg,
            "map": self.map,
            "coverage": self.coverage,
        }


def interval(values: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap of a mean over customers, who are drawn with replacement: 95 in 100 means lie between these.

    For two ways of ranking the same customers give their differences: the interval is then of the paired difference.
    """
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def ranking(
    lists: Iterable[Sequence[int] | np.ndarray],
    truths: Iterable[Sequence[int] | np.ndarray],
    *,
    k: int,
    items: int,
) -> Ranking:
    """Compare ranked lists with what was really bought.

    Parameters
    ----------
    lists : iterable of sequences of int
        One ranked list of distinct item positions a customer, best first; only the first ``k`` count. May be short or empty.
    truths : iterable of sequences of int
        The items bought, in the same order of customers; customers without any are left out.
    k, items : int
        Length of the list; how many items could have been shown.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)
    found: list[tuple[float, ...]] = []
    shown: set[int] = set()
    for ranked, bought in zip(lists, truths, strict=True):
        if not len(bought):
            continue
        top = [int(item) for item in ranked[:k]]
        shown.update(top)
        truth = {int(item) for item in bought}
        hit = np.array([item in truth for item in top], dtype=float)
        best = min(k, len(truth))
        found.append(
            (
                hit.sum() / len(truth),
                (hit * discount[: len(hit)]).sum() / ideal[best - 1],
                (hit * np.cumsum(hit) / np.arange(1, len(hit) + 1)).sum() / best,
                float(hit.any()),
            )
        )
    if not found:
        return Ranking(0, 0.0, 0.0, 0.0, 0.0)
    each = dict(zip(ACCURACY, np.array(found).T, strict=True))
    means = {name: float(each[name].mean()) for name in ("recall", "ndcg", "map")}
    return Ranking(len(found), coverage=len(shown) / items if items else 0.0, each=each, **means)


MIXED_IN = 0.01  # Steck's α: so much of the customer's own shares is mixed into the list's, or one missing category is infinite


@dataclass(frozen=True, slots=True)
class Beyond:
    """Means over the customers whose list is not empty; None where the catalogue names no categories."""

    novelty: float | None
    diversity: float | None
    calibration: float | None

    def as_dict(self) -> dict[str, float | None]:
        """For a report."""
        return {
            "novelty": self.novelty,
            "diversity": self.diversity,
            "calibration": self.calibration,
        }


def beyond(
    lists: Sequence[np.ndarray],
    *,
    buyers: np.ndarray,
    customers: int,
    category: np.ndarray,
    tastes: csr_matrix,
) -> Beyond:
    """Describe ranked lists.

    Parameters
    ----------
    lists : sequence of ndarray of int
        Positions of the items, one list a customer.
    buyers : ndarray (items,)
        How many customers bought each item before the cutoff, at least 1.
    customers : int
        How many customers there were.
    category : ndarray of int (items,)
        −1 where nobody said; such an item is alone in its category.
    tastes : csr_matrix (lists × categories)
        How much each customer bought of each category before the cutoff.

    Returns
    -------
    Beyond
        ``novelty`` (bits): mean over the list of −log₂(buyers/customers), as RecTools' MeanInvUserFreq.
        ``diversity``: share of the list's pairs in different categories (intra-list diversity, Hamming distance).
        ``calibration``: KL divergence (nats) of the categories' shares in the list from those in the customer's
        purchases (Steck, Calibrated recommendations, RecSys 2018, with α = .01); 0 is a list true to their tastes.
    """
    row = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    item = np.concatenate([np.empty(0, dtype=np.int64), *lists])
    if not len(item):
        return Beyond(None, None, None)
    length = np.bincount(row, minlength=len(lists))
    filled = length > 0
    bits = np.bincount(
        row, weights=-np.log2(buyers[item].astype(float) / customers), minlength=len(lists)
    )
    novelty = float((bits[filled] / length[filled]).mean())
    if not (category >= 0).any():
        return Beyond(novelty, None, None)
    counts, alone = _counted(row, category[item], (len(lists), int(category.max()) + 1))
    same = counts.multiply(counts - _ones(counts)).sum(axis=1)
    pairs = length * (length - 1)
    unlike = np.where(pairs > 0, 1 - np.asarray(same).ravel() / np.maximum(pairs, 1), 0.0)
    return Beyond(novelty, float(unlike[filled].mean()), _calibration(counts, alone, tastes))


def _counted(
    row: np.ndarray, code: np.ndarray, shape: tuple[int, int]
) -> tuple[csr_matrix, np.ndarray]:
    """Items of each list by category, and how many have none."""
    known = code >= 0
    counts = csr_matrix((np.ones(int(known.sum())), (row[known], code[known])), shape=shape)
    return counts, np.bincount(row[~known], minlength=shape[0])


def _ones(counts: csr_matrix) -> csr_matrix:
    return csr_matrix((np.ones(counts.nnz), counts.indices, counts.indptr), shape=counts.shape)


def _calibration(counts: csr_matrix, alone: np.ndarray, tastes: csr_matrix) -> float | None:
    """Mean of Σ p log(p/q̃), q̃ = (1 − α) q + α p, over customers with tastes and a list."""
    length = np.asarray(counts.sum(axis=1)).ravel() + alone
    liked = np.asarray(tastes.sum(axis=1)).ravel()
    chosen = np.flatnonzero((length > 0) & (liked > 0))
    if not len(chosen):
        return None
    own = csr_matrix(tastes[chosen])
    row = np.repeat(np.arange(len(chosen)), np.diff(own.indptr))
    share = own.data / liked[chosen][row]
    listed = np.asarray(counts[chosen][row, own.indices]).ravel() / length[chosen][row]
    kept = share > 0
    part = share[kept] * np.log(
        share[kept] / ((1 - MIXED_IN) * listed[kept] + MIXED_IN * share[kept])
    )
    return float(np.bincount(row[kept], weights=part, minlength=len(chosen)).mean())
