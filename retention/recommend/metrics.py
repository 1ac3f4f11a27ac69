"""Ranking metrics to the definition of the contract: recall = hits/|truth|; NDCG and MAP with min(k, |truth|) as the ideal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

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
