"""What every collaborative model does, and the checks at its door.

A model learns items from other customers' histories and scores any history, also one it has not been trained on:
no customer is stored under an id, so nobody can get another's list, and a customer who is new since the training
is scored like all others.
"""

from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent

Arrays = Mapping[str, np.ndarray]


@runtime_checkable
class Collaborative(Protocol):
    """Learns from the (customers × items) matrix of non-negative preferences.

    ``scores`` of a history without entries are all 0, which means "nothing known" and never "the first items".
    """

    name: str

    def fit(self, matrix: csr_matrix, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn. ``matrix`` is (customers × items), checked by `checked`. May raise `Cancelled` from ``progress``."""
        ...

    def scores(self, histories: csr_matrix) -> np.ndarray:
        """Scores (histories × items), float32; higher is liked more; own items are scored like any other."""
        ...

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """How much each entry of one history (1 × items) adds to the score of each of ``items``.

        Returns (items × entries of the history); the reason "because they bought X" is its largest column.
        """
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything learned, as plain arrays."""
        ...

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        ...


def checked(matrix: csr_matrix) -> csr_matrix:
    """The matrix as every model wants it: CSR float32, finite, non-negative, without stored zeros.

    Raises
    ------
    ValueError
        For what implicit would take without a word and answer wrongly: negative or missing preferences.
    """
    clean = csr_matrix(matrix, dtype=np.float32, copy=True)
    if not np.isfinite(clean.data).all():
        raise ValueError("a preference is missing or infinite")
    if (clean.data < 0).any():
        raise ValueError("a preference is negative; take such items out instead")
    clean.sum_duplicates()
    clean.eliminate_zeros()
    clean.sort_indices()
    return clean
