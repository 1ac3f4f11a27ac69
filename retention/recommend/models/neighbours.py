"""Score items by similar items, texts, customers and friends."""

from typing import Any, ClassVar, Literal, Self

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.feature_extraction.text import TfidfVectorizer

from retention.progress import Progress
from retention.recommend.matrices import restore_sparse, sample_rows, sparse_arrays
from retention.recommend.models.base import (
    Arrays,
    Collaborative,
    Model,
    SideInformation,
    buyer_counts,
)
from retention.text import gettext

Weighting = Literal["cosine", "tfidf", "bm25"]
K1, B = 1.2, 0.75  # BM25 defaults (Robertson and Zaragoza 2009)


def inverse_document_frequency(documents: int, holders: np.ndarray) -> np.ndarray:
    """Compute log(1 + documents / (1 + holders)) per term."""
    return np.log1p(documents / (1.0 + holders)).astype(np.float32)


def weight_entries(
    rows: csr_matrix,
    weighting: Weighting,
    idf: np.ndarray,
    length: float,
    *,
    k1: float = K1,
    b: float = B,
) -> csr_matrix:
    """Weight the entries of documents by terms.

    Rows are documents, columns are terms.

    `weighting`: unchanged; √preference · idf; or BM25's saturation by row length · idf.
    `idf`: from `inverse_document_frequency`.
    `length`: mean sum of a row in the matrix that BM25 was fitted on.
    `k1`, `b`: BM25: speed of saturation, and discount of long rows.
    """
    if weighting == "cosine":
        return rows
    data = rows.data.astype(np.float32)
    if weighting == "tfidf":
        data = np.sqrt(data)
    else:
        relative_length = np.asarray(rows.sum(axis=1)).ravel() / max(length, 1e-12)
        saturation = np.repeat(k1 * (1 - b + b * relative_length), np.diff(rows.indptr))
        data = (data * (k1 + 1) / (data + saturation)).astype(np.float32)
    # A product with a diagonal matrix would change the order of the entries.
    return _with_data(rows, data * idf[rows.indices])


def normalise_rows(rows: csr_matrix) -> csr_matrix:
    """Scale each non-empty row to length 1."""
    data = rows.data.astype(np.float32)
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    length = np.sqrt(np.bincount(row, data**2, minlength=rows.shape[0]))
    return _with_data(rows, data / np.where(length > 0, length, 1)[row].astype(np.float32))


def _with_data(rows: csr_matrix, data: np.ndarray) -> csr_matrix:
    """Replace the values of a matrix. The sparsity pattern stays; the indices are copied."""
    return csr_matrix((data, rows.indices.copy(), rows.indptr), shape=rows.shape)


def mean_length(rows: csr_matrix) -> float:
    """Return the mean sum of a row."""
    return float(rows.sum()) / max(rows.shape[0], 1)


# implicit's BM25 defaults, hardly any saturation: NDCG .195 on Complete Journey, .171 with 1.2
ITEM_K1, ITEM_B = 100.0, 0.8


class ItemKnn(Collaborative):
    """Score items by similarity to the history's items.

    The method is by Sarwar et al. 2001. Similarities by BM25 come from `implicit`: (items × items),
    at most ``neighbours`` per row.
    """

    name = "item_knn_bm25"
    weighting: Weighting = "bm25"

    def __init__(self, neighbours: int = 50) -> None:
        self.neighbours = neighbours

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        progress(0, 1, gettext("Learning which items are neighbours"))
        self.similarity_ = self._similarity(clean, side)
        progress(1, 1, gettext("Learning which items are neighbours"))

    def _similarity(self, matrix: csr_matrix, side: SideInformation) -> csr_matrix:
        """Compute item similarities.

        Items are documents of their buyers. For BM25, customers are documents of their items.
        """
        if self.weighting == "bm25":
            idf = inverse_document_frequency(matrix.shape[0], buyer_counts(matrix))
            length = mean_length(matrix)
            documents = weight_entries(matrix, "bm25", idf, length, k1=ITEM_K1, b=ITEM_B)
            return most_similar(csr_matrix(documents.T), self.neighbours)
        rows = csr_matrix(matrix.T)
        idf = inverse_document_frequency(rows.shape[0], buyer_counts(rows))
        weighted = weight_entries(rows, self.weighting, idf, mean_length(rows))
        return most_similar(normalise_rows(weighted), self.neighbours)

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Multiply preferences by similarities. The padding of `implicit` never appears."""
        return (histories @ self.similarity_).toarray().astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Compute xᵢ · sᵢⱼ per item j and entry i."""
        return self.similarity_[history.indices][:, items].toarray().T * history.data

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the parts of the CSR similarity matrix."""
        return sparse_arrays(self.similarity_)

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        model = cls()
        model.similarity_ = restore_sparse(arrays, len(arrays["indptr"]) - 1)
        return model


class ItemCosine(ItemKnn):
    """Compare items by the cosine of their buyers."""

    name = "item_knn_cosine"
    weighting: Weighting = "cosine"


class ItemTfidf(ItemKnn):
    """Compare items by TF-IDF weights, which favour small baskets."""

    name = "item_knn_tfidf"
    weighting: Weighting = "tfidf"


def most_similar(rows: csr_matrix, neighbours: int) -> csr_matrix:
    """Find the most similar other rows of each row.

    Returns: products (rows × rows), at most ``neighbours`` per row, diagonal 0.
    """
    from implicit.nearest_neighbours import ItemItemRecommender

    engine = ItemItemRecommender(K=neighbours + 1, num_threads=1)
    engine.fit(csr_matrix(rows.T, dtype=np.float64), show_progress=False)
    similarity = csr_matrix(engine.similarity, dtype=np.float32)
    similarity -= diags(similarity.diagonal(), dtype=np.float32)  # no item is its own neighbour
    similarity.eliminate_zeros()
    return csr_matrix(similarity)


MAX_TERMS = 50_000
MAX_ITEMS_PER_TERM = 500  # or 1/50 of all items; more frequent n-grams are slow and say little


def text_vectoriser(**options: Any) -> TfidfVectorizer:
    """Create a transformer of texts to TF-IDF of character n-grams."""
    return TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 4),
        sublinear_tf=True,
        max_features=MAX_TERMS,
        dtype=np.float32,
        **options,
    )


class Content(ItemKnn):
    """Find neighbours by text alone (Lops et al. 2011).

    Texts are compared by TF-IDF of character n-grams. Items without any buyer have neighbours, too.
    On two shops n-grams found better neighbours of new items than small sentence embeddings did.
    """

    name = "content"
    uses = ("texts",)

    def _similarity(self, matrix: csr_matrix, side: SideInformation) -> csr_matrix:
        items = matrix.shape[1]
        texts = [] if side.texts is None else [text.casefold() for text in side.texts]
        if not any(text.strip() for text in texts):
            return csr_matrix((items, items), dtype=np.float32)
        vectoriser = text_vectoriser(max_df=min(max(MAX_ITEMS_PER_TERM, items // 50), items))
        return most_similar(csr_matrix(vectoriser.fit_transform(texts)), self.neighbours)


SELF_SIMILARITY = 0.9999  # above it, a reference is the customer's own training history
MAX_REFERENCES = 5_000  # customers to compare with; a random sample of more


class UserKnn(Collaborative):
    """Score items by histories of similar customers.

    The method is by Resnick et al. 1994. The ``neighbours`` most similar reference histories are
    averaged, weighted by similarity. The references carry no customer ids.
    """

    name = "user_knn_tfidf"
    stored: ClassVar = {"rarity": "rarity_", "length": "length_"}
    weighting: Weighting = "tfidf"

    def __init__(self, neighbours: int = 50) -> None:
        self.neighbours = neighbours

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        progress(0, 1, gettext("Remembering who likes what"))
        rows = np.flatnonzero(np.diff(clean.indptr) > 0)
        rows = rows[sample_rows(len(rows), MAX_REFERENCES, seed)]
        self.rarity_ = inverse_document_frequency(clean.shape[0], buyer_counts(clean))
        self.length_ = mean_length(clean)
        self._store(csr_matrix(clean[rows]))
        progress(1, 1, gettext("Remembering who likes what"))

    def _store(self, references: csr_matrix) -> None:
        self.references_ = references
        self.references_transposed_ = csr_matrix(self._normalise(references).T)

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Average the neighbours' preferences by similarity."""
        scores = np.zeros(histories.shape, dtype=np.float32)
        for line, similarity in zip(scores, self._neighbour_similarity(histories), strict=True):
            near = np.flatnonzero(similarity)
            if len(near):  # row by row: scipy's product of a whole batch is no faster
                # reduceat adds in order, which gives a batch the same sums as a single row
                total = np.add.reduceat(similarity[near], [0])
                line[:] = self.references_[near].T @ similarity[near] / total
        return scores

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Split the scores by parts of the similarities."""
        similarity = self._neighbour_similarity(history)[0]
        near = np.flatnonzero(similarity)
        if not len(near):
            return np.zeros((len(items), history.nnz), dtype=np.float32)
        own, others = self._normalise(history), self._normalise(csr_matrix(self.references_[near]))
        similarity_parts = others[:, history.indices].toarray() * own.data
        preferences = self.references_[near][:, items].toarray()
        return (preferences.T @ similarity_parts) / similarity[near].sum()

    def _normalise(self, histories: csr_matrix) -> csr_matrix:
        return normalise_rows(weight_entries(histories, self.weighting, self.rarity_, self.length_))

    def _neighbour_similarity(self, histories: csr_matrix) -> np.ndarray:
        """Compute similarities to the neighbours.

        The matrix is (histories × references), 0 except for the neighbours.
        """
        similarity = (self._normalise(histories) @ self.references_transposed_).toarray()
        similarity[similarity > SELF_SIMILARITY] = 0
        if similarity.shape[1] > self.neighbours:
            smallest = np.partition(similarity, -self.neighbours, axis=1)[:, -self.neighbours]
            similarity[similarity < smallest[:, None]] = 0
        return similarity

    def arrays(self) -> dict[str, np.ndarray]:
        """Include the reference histories."""
        return sparse_arrays(self.references_) | super().arrays()

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        model = super().restore(arrays)
        model._store(restore_sparse(arrays, len(model.rarity_)))
        return model


class UserCosine(UserKnn):
    """Compare customers by the cosine of their preferences."""

    name = "user_knn_cosine"
    weighting: Weighting = "cosine"


class UserBm25(UserKnn):
    """Compare customers by BM25 weights."""

    name = "user_knn_bm25"
    weighting: Weighting = "bm25"


POPULARITY_WEIGHT = 1e-3  # only breaks ties between items that friends like equally


class Social(Model):
    """Score items by the preferences of friends.

    It simplifies Ma et al. 2009 to a mean. Friends are people that a customer follows, referred or
    was referred by. Their histories come in `SideInformation.friends` at scoring time; the model
    stores no relations. Popularity breaks ties.
    """

    name = "social"
    uses = ("friends",)
    stored: ClassVar = {"popularity": "popularity_"}

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        counts = buyer_counts(clean).astype(np.float32)
        self.popularity_ = counts / max(float(counts.max(initial=0)), 1.0)
        progress(1, 1, gettext("Remembering what is popular"))

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Sum the friends' preferences. The score is 0 without friends or their purchases."""
        if side.friends is None:
            return np.zeros(histories.shape, dtype=np.float32)
        preferences = side.friends.toarray().astype(np.float32)
        return preferences * (1 + POPULARITY_WEIGHT * self.popularity_)
