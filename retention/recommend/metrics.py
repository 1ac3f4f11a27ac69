"""Ranking metrics to the definition of the contract: recall = hits/|truth|; NDCG and MAP with min(k, |truth|) as the ideal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over customers, and the share of the items that appear in anybody's list."""

    customers: int
    recall: float
    ndcg: float
    map: float
    coverage: float
    each: np.ndarray = field(default_factory=lambda: np.empty((0, 3)), compare=False)
    """(customers × 3): recall, NDCG and whether there was a hit, of each customer that counts, in the order given."""

    @property
    def hit_rate(self) -> float:
        """Share of the customers with at least one hit."""
        return float(self.each[:, 2].mean()) if len(self.each) else 0.0

    def interval(self, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
        """Ninety-five in a hundred bootstrap means of NDCG lie between these; customers are drawn, with replacement."""
        if not len(self.each):
            return 0.0, 0.0
        ndcg = self.each[:, 1]
        rng = np.random.default_rng(seed)
        means = [ndcg[rng.integers(0, len(ndcg), len(ndcg))].mean() for _ in range(draws)]
        low, high = np.quantile(means, [0.025, 0.975])
        return float(low), float(high)

    def as_dict(self) -> dict[str, float]:
        """The contract's ``metrics``."""
        return {"recall": self.recall, "ndcg": self.ndcg, "map": self.map, "coverage": self.coverage}


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
    recalls, ndcgs, precisions = [], [], []
    shown: set[int] = set()
    for ranked, bought in zip(lists, truths, strict=True):
        if not len(bought):
            continue
        top = [int(item) for item in ranked[:k]]
        shown.update(top)
        truth = {int(item) for item in bought}
        hit = np.array([item in truth for item in top], dtype=float)
        best = min(k, len(truth))
        recalls.append(hit.sum() / len(truth))
        ndcgs.append((hit * discount[: len(hit)]).sum() / ideal[best - 1])
        precisions.append((hit * np.cumsum(hit) / np.arange(1, len(hit) + 1)).sum() / best)
    if not recalls:
        return Ranking(0, 0.0, 0.0, 0.0, 0.0)
    return Ranking(
        len(recalls),
        float(np.mean(recalls)),
        float(np.mean(ndcgs)),
        float(np.mean(precisions)),
        len(shown) / items if items else 0.0,
        np.column_stack([recalls, ndcgs, np.array(recalls) > 0]),
    )
