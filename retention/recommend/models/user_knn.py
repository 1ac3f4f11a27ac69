"""User-based neighbours: "bought by customers like them", by the cosine of TF-IDF weighted histories."""

from typing import Self

import numpy as np
from scipy.sparse import csr_matrix, diags

from retention.progress import Progress, silent
from retention.recommend.models.contract import Arrays, checked

SAME = 0.9999  # so alike is only the customer's own history of the training
REFERENCES = 5_000  # customers to be compared with; drawn where there are more


class UserKnn:
    """The ``neighbours`` most similar of the (nameless) histories learned from, weighted by similarity."""

    name = "user_knn"

    def __init__(self, neighbours: int = 50) -> None:
        self.neighbours = neighbours

    def fit(self, matrix: csr_matrix, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn from (customers × items); see `Collaborative`."""
        progress(0, 1, "Remembering who likes what")
        clean = checked(matrix)
        known = np.flatnonzero(np.diff(clean.indptr) > 0)
        if len(known) > REFERENCES:
            known = np.sort(np.random.default_rng(seed).choice(known, REFERENCES, replace=False))
        owners = np.bincount(clean.indices, minlength=clean.shape[1])
        self.rarity_ = np.log1p(clean.shape[0] / (1.0 + owners)).astype(np.float32)
        self.references_ = csr_matrix(clean[known])
        progress(1, 1, "Remembering who likes what")
        return self

    def scores(self, histories: csr_matrix) -> np.ndarray:
        """Mean of the neighbours' preferences, weighted by similarity."""
        near = self._near(histories)
        total = np.asarray(near.sum(axis=1)).ravel()
        found = (near @ self.references_).toarray()
        return (found / np.where(total > 0, total, 1)[:, None]).astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Each entry's part in the similarities, carried through to the scores."""
        near = self._near(history)
        if not near.nnz:
            return np.zeros((len(items), history.nnz), dtype=np.float32)
        unit, others = self._unit(history), self._unit(csr_matrix(self.references_[near.indices]))
        parts = others[:, history.indices].toarray() * unit.data
        liked = self.references_[near.indices][:, items].toarray()
        return (liked.T @ parts) / near.data.sum()

    def _unit(self, histories: csr_matrix) -> csr_matrix:
        weighted = csr_matrix(histories @ diags(self.rarity_, dtype=np.float32))
        length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        weighted.data /= np.repeat(np.where(length > 0, length, 1), np.diff(weighted.indptr))
        return weighted

    def _near(self, histories: csr_matrix) -> csr_matrix:
        """Similarities (histories × references), the best ``neighbours`` of each row."""
        if not hasattr(self, "references_unit_"):
            self.references_unit_ = csr_matrix(self._unit(self.references_).T)
        alike = (self._unit(histories) @ self.references_unit_).toarray()
        alike[alike > SAME] = 0
        if alike.shape[1] > self.neighbours:
            bar = np.partition(alike, -self.neighbours, axis=1)[:, -self.neighbours][:, None]
            alike[alike < bar] = 0
        return csr_matrix(alike)

    def arrays(self) -> dict[str, np.ndarray]:
        """The nameless histories and how rare each item is."""
        return {
            "data": self.references_.data,
            "indices": self.references_.indices,
            "indptr": self.references_.indptr,
            "rarity": self.rarity_,
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls()
        made.rarity_ = arrays["rarity"]
        shape = (len(arrays["indptr"]) - 1, len(made.rarity_))
        made.references_ = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        return made
