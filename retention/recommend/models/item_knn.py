"""Item-based neighbours: "bought by those who bought X" (Sarwar et al. 2001), by cosine, TF-IDF or BM25; by `implicit`."""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix, diags

from retention.progress import Progress, silent
from retention.recommend.models.contract import NOTHING, Arrays, Side, checked, owners
from retention.recommend.models.weighting import Weighting, mean_length, rarity, unit, weighted

SATURATION, LENGTH = (
    100.0,
    0.8,
)  # hardly any saturation, as implicit has it: .195 on Complete Journey, with 1.2 .171


class ItemKnn:
    """Similarity (items × items) with at most ``neighbours`` a row."""

    name = "item_knn_bm25"
    looks_at: ClassVar[tuple[str, ...]] = ()
    weighting: Weighting = "bm25"

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
        progress(0, 1, "Learning which items are neighbours")
        self.similarity_ = self._alike(checked(matrix), side)
        progress(1, 1, "Learning which items are neighbours")
        return self

    def _alike(self, matrix: csr_matrix, side: Side) -> csr_matrix:
        """Items are documents of the customers who have them; for BM25 customers are documents of their items."""
        if self.weighting == "bm25":
            idf = rarity(matrix.shape[0], owners(matrix))
            made = weighted(matrix, "bm25", idf, mean_length(matrix), k1=SATURATION, b=LENGTH)
            return nearest(csr_matrix(made.T), self.neighbours)
        rows = csr_matrix(matrix.T)
        idf = rarity(rows.shape[0], owners(rows))
        return nearest(
            unit(weighted(rows, self.weighting, idf, mean_length(rows))), self.neighbours
        )

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
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


class ItemCosine(ItemKnn):
    """Alike by the cosine of who has them."""

    name = "item_knn_cosine"
    weighting: Weighting = "cosine"


class ItemTfidf(ItemKnn):
    """Alike by TF-IDF weights: what small baskets share says more."""

    name = "item_knn_tfidf"
    weighting: Weighting = "tfidf"


def nearest(rows: csr_matrix, neighbours: int) -> csr_matrix:
    """Products (rows × rows) of each row with its ``neighbours`` most similar others; none with itself."""
    from implicit.nearest_neighbours import ItemItemRecommender

    engine = ItemItemRecommender(K=neighbours + 1, num_threads=1)
    engine.fit(csr_matrix(rows.T, dtype=np.float64), show_progress=False)
    similarity = csr_matrix(engine.similarity, dtype=np.float32)
    similarity -= diags(similarity.diagonal(), dtype=np.float32)  # an item is no reason for itself
    similarity.eliminate_zeros()
    return csr_matrix(similarity)
