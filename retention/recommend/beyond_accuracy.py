"""What accuracy does not say of lists: how little known, how unlike each other, and how true to a customer's tastes their items are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

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
