"""Ranking metrics to the definition of the contract: recall = hits/|truth|; NDCG and MAP with min(k, |truth|) as the ideal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over customers, and the share of the items that appear in anybody's list."""

    customers: int
    recall: float
    ndcg: float
    map: float
    coverage: float

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
    )
