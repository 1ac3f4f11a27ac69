"""User-based neighbours: "bought by customers like them" (Resnick et al. 1994), by cosine, TF-IDF or BM25."""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.models.contract import NOTHING, Arrays, Side, checked, owners
from retention.recommend.models.weighting import Weighting, mean_length, rarity, unit, weighted

SAME = 0.9999  # so alike is only the customer's own history of the training
REFERENCES = 5_000  # customers to be compared with; drawn where there are more


class UserKnn:
    """The ``neighbours`` most similar of the (nameless) histories learned from, weighted by similarity."""

    name = "user_knn_tfidf"
    looks_at: ClassVar[tuple[str, ...]] = ()
    weighting: Weighting = "tfidf"

    def __init__(self, neighbours: int = 50) -> None:
        self.neighbours = neighbours

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from (customers × items); see `Model`."""
        progress(0, 1, "Remembering who likes what")
        clean = checked(matrix)
        known = np.flatnonzero(np.diff(clean.indptr) > 0)
        if len(known) > REFERENCES:
            known = np.sort(np.random.default_rng(seed).choice(known, REFERENCES, replace=False))
        self.rarity_, self.length_ = rarity(clean.shape[0], owners(clean)), mean_length(clean)
        self._keep(csr_matrix(clean[known]))
        progress(1, 1, "Remembering who likes what")
        return self

    def _keep(self, references: csr_matrix) -> None:
        self.references_ = references
        self.turned_ = csr_matrix(self._unit(references).T)

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """Mean of the neighbours' preferences, weighted by similarity."""
        found = np.zeros(histories.shape, dtype=np.float32)
        for line, alike in zip(found, self._near(histories), strict=True):
            near = np.flatnonzero(alike)
            if len(
                near
            ):  # the product of one row with a few; scipy's of a whole batch is no faster
                total = np.add.reduceat(
                    alike[near], [0]
                )  # in order, so that a batch says what one row says
                line[:] = self.references_[near].T @ alike[near] / total
        return found

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Each entry's part in the similarities, carried through to the scores."""
        alike = self._near(history)[0]
        near = np.flatnonzero(alike)
        if not len(near):
            return np.zeros((len(items), history.nnz), dtype=np.float32)
        mine, others = self._unit(history), self._unit(csr_matrix(self.references_[near]))
        parts = others[:, history.indices].toarray() * mine.data
        liked = self.references_[near][:, items].toarray()
        return (liked.T @ parts) / alike[near].sum()

    def _unit(self, histories: csr_matrix) -> csr_matrix:
        return unit(weighted(histories, self.weighting, self.rarity_, self.length_))

    def _near(self, histories: csr_matrix) -> np.ndarray:
        """Similarities (histories × references), 0 but for the best ``neighbours`` of each row."""
        alike = (self._unit(histories) @ self.turned_).toarray()
        alike[alike > SAME] = 0
        if alike.shape[1] > self.neighbours:
            bar = np.partition(alike, -self.neighbours, axis=1)[:, -self.neighbours][:, None]
            alike[alike < bar] = 0
        return alike

    def arrays(self) -> dict[str, np.ndarray]:
        """The nameless histories and how rare each item is."""
        return {
            "data": self.references_.data,
            "indices": self.references_.indices,
            "indptr": self.references_.indptr,
            "rarity": self.rarity_,
            "length": np.array(self.length_),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls()
        made.rarity_, made.length_ = arrays["rarity"], float(arrays["length"])
        shape = (len(arrays["indptr"]) - 1, len(made.rarity_))
        made._keep(csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape))
        return made


class UserCosine(UserKnn):
    """Alike by the cosine of preferences."""

    name = "user_knn_cosine"
    weighting: Weighting = "cosine"


class UserBm25(UserKnn):
    """Alike by BM25 weights."""

    name = "user_knn_bm25"
    weighting: Weighting = "bm25"
