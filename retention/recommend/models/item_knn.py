"""Item-based neighbours with BM25 weights, by `implicit`: "bought by those who bought X"."""

from typing import Self

import numpy as np
from scipy.sparse import csr_matrix, diags

from retention.progress import Progress, silent
from retention.recommend.models.contract import Arrays, checked


class ItemKnn:
    """Similarity (items × items) with at most ``neighbours`` a row."""

    name = "item_knn"

    def __init__(self, neighbours: int = 50) -> None:
        self.neighbours = neighbours

    def fit(self, matrix: csr_matrix, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn from (customers × items); see `Collaborative`."""
        from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight

        progress(0, 1, "Learning which items are neighbours")
        engine = ItemItemRecommender(K=self.neighbours + 1, num_threads=1)
        engine.fit(bm25_weight(checked(matrix).T, K1=1.2, B=0.75).T.tocsr(), show_progress=False)
        similarity = csr_matrix(engine.similarity, dtype=np.float32)
        similarity -= diags(similarity.diagonal(), dtype=np.float32)  # an item is no reason for itself
        similarity.eliminate_zeros()
        self.similarity_ = csr_matrix(similarity)
        progress(1, 1, "Learning which items are neighbours")
        return self

    def scores(self, histories: csr_matrix) -> np.ndarray:
        """Preferences times similarities; implicit's own padding (zeros, −1) never appears."""
        return (histories @ self.similarity_).toarray().astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """xᵢ · sᵢⱼ for each item j and each entry i of the history."""
        return self.similarity_[history.indices][:, items].toarray().T * history.data

    def arrays(self) -> dict[str, np.ndarray]:
        """The similarity in CSR parts."""
        return {
            "data": self.similarity_.data,
            "indices": self.similarity_.indices,
            "indptr": self.similarity_.indptr,
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        items = len(arrays["indptr"]) - 1
        made = cls()
        made.similarity_ = csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=(items, items)
        )
        return made
