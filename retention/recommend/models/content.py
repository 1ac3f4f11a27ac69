"""Content-based (Lops et al. 2011): items whose titles and attributes read alike, by TF-IDF of character n-grams.

On two shops n-grams found better neighbours for new items than small sentence embeddings did.
"""

from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.models.contract import Side
from retention.recommend.models.item_knn import ItemKnn, nearest

TERMS = 50_000
COMMON = 500  # items: an n-gram that more of them (or a fiftieth of all) have says little, and takes most of the time


class Content(ItemKnn):
    """Neighbours by text alone: it needs no buyers, so items that nobody bought yet have some too."""

    name = "content"
    looks_at: ClassVar[tuple[str, ...]] = ("texts",)

    def _alike(self, matrix: csr_matrix, side: Side) -> csr_matrix:
        from sklearn.feature_extraction.text import TfidfVectorizer

        items = matrix.shape[1]
        texts = [] if side.texts is None else [text.casefold() for text in side.texts]
        if not any(text.strip() for text in texts):
            return csr_matrix((items, items), dtype=np.float32)
        reader = TfidfVectorizer(
            analyzer="char_wb",
            ngram_range=(3, 4),
            sublinear_tf=True,
            max_features=TERMS,
            dtype=np.float32,
            max_df=min(max(COMMON, items // 50), items),
        )
        return nearest(csr_matrix(reader.fit_transform(texts)), self.neighbours)
