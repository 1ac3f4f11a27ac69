"""Score items for new customers and new items.

Training keeps the best items of each customer segment, and for each new item the most similar items
with buyers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.catalogue import Catalogue
from retention.recommend.evaluation_context import Snapshot
from retention.recommend.matrices import positions
from retention.recommend.models import Segments, SideInformation
from retention.recommend.models.popularity import SegmentPopular
from retention.recommend.ranking.features import Interactions
from retention.recommend.ranking.ranker import POPULARITY_PRIOR
from retention.recommend.side_information import liked_by_friends, read_side_information, segments

if TYPE_CHECKING:
    from retention.lake import Lake

BEST, MAX_SEGMENTS = 100, 300  # items per segment; segments
NEW_DAYS = 56  # since the first sale, or never sold
MAX_NEW_ITEMS = 2_000  # items
NEAREST = 10  # similar known items of each new one
MIN_SIMILARITY = 0.2  # cosine; below, texts only share a few letters


@dataclass(frozen=True)
class ColdStart:
    """Hold segment bestsellers and similarities of new items.

    Parameters
    ----------
    labels : ndarray of str
        Segments: ``channel:web``, ``region:north``, ``first:tea``.
    best : ndarray of int32 (segments × `BEST`)
        Positions of items, −1 if there are fewer.
    share : ndarray of float32 (segments × `BEST`)
        Share of each item in the segment's sales.
    new_items : ndarray of str
        New items with too few buyers to learn from.
    similarity : csr_matrix (known items × new items)
        Cosine of their texts.
    """

    labels: np.ndarray
    best: np.ndarray
    share: np.ndarray
    new_items: np.ndarray
    similarity: csr_matrix

    @cached_property
    def known_to_new(self) -> csr_matrix:
        """Similarities of (new items × known items)."""
        return csr_matrix(self.similarity.T)

    def popular(self, labels: Sequence[Sequence[str]], items: int) -> csr_matrix:
        """Return mean item shares over known segments.

        Empty without any.

        Parameters
        ----------
        labels : sequence of sequences of str
            Segments of each line.
        items : int
            Number of columns.

        Returns
        -------
        csr_matrix (lines × items)
        """
        segments = [positions(self.labels, list(line)) for line in labels]
        segments = [rows[rows >= 0] for rows in segments]
        sizes = np.array([len(rows) for rows in segments], dtype=np.int64)
        line, segment = (
            np.repeat(np.arange(len(segments)), sizes),
            np.concatenate([*segments, np.empty(0, np.int64)]),
        )
        membership = csr_matrix(
            (1 / np.repeat(sizes, sizes), (line, segment)), shape=(len(segments), len(self.labels))
        )
        return csr_matrix(membership @ self._shares(items))

    def _shares(self, items: int) -> csr_matrix:
        """Return the item shares as (segments × items)."""
        segment, place = np.nonzero(self.best >= 0)
        entries = self.share[segment, place], (segment, self.best[segment, place])
        return csr_matrix(entries, shape=(len(self.labels), items))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for the artefact."""
        return {
            "labels": self.labels,
            "best": self.best,
            "share": self.share,
            "fresh": np.array(self.new_items, dtype=str),
            "data": self.similarity.data,
            "indices": self.similarity.indices,
            "indptr": self.similarity.indptr,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from stored arrays."""
        shape = (len(arrays["indptr"]) - 1, len(arrays["fresh"]))
        alike = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        fresh = arrays["fresh"].astype(object)
        return cls(arrays["labels"], arrays["best"], arrays["share"], fresh, alike)


def learn_cold_start(lake: "Lake", now: Snapshot, items: Catalogue) -> ColdStart:
    """Learn segment bestsellers and similarities of new items.

    Parameters
    ----------
    lake : Lake
    now : Snapshot
        Nothing after it is read.
    items : Catalogue
        The catalogue of today: a new item may have a later description.

    Returns
    -------
    ColdStart
    """
    interactions = now.interactions
    side = _largest(read_side_information(lake, interactions, (), SegmentPopular.uses))
    popularity = SegmentPopular().fit(interactions.liked, side=side)
    best, share = _best(popularity.within_)
    new_ids = find_new_items(now, items)
    return ColdStart(
        popularity.labels_,
        best,
        share,
        new_ids,
        _similarity(interactions.item_stats.items, new_ids, items),
    )


def _largest(side: SideInformation) -> SideInformation:
    """Keep the segments with most customers."""
    if side.segments is None or len(side.segments.labels) <= MAX_SEGMENTS:
        return side
    size = np.asarray(side.segments.member.sum(axis=0)).ravel()
    largest = np.sort(np.argsort(-size, kind="stable")[:MAX_SEGMENTS])
    return replace(
        side,
        segments=Segments(
            side.segments.labels[largest], csr_matrix(side.segments.member[:, largest])
        ),
    )


def _best(within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = min(BEST, within.shape[1])
    order = np.argsort(-within, axis=1, kind="stable")[:, :count].astype(np.int32)
    share = np.take_along_axis(within, order.astype(np.int64), 1)
    return np.where(share > 0, order, -1).astype(np.int32), share.astype(np.float32)


def find_new_items(now: Snapshot, items: Catalogue) -> np.ndarray:
    """Return recommendable items first sold lately or never.

    The ids are sorted.

    Parameters
    ----------
    now : Snapshot
    items : Catalogue

    Returns
    -------
    ndarray of str
        At most `MAX_NEW_ITEMS`, without items that have statistics.
    """
    interactions = now.interactions
    oldest_purchase = np.zeros(len(interactions.history.items))
    bought = interactions.seen.days > 0
    np.maximum.at(oldest_purchase, interactions.seen.item[bought], interactions.seen.first[bought])
    known = set(interactions.history.items[oldest_purchase > NEW_DAYS]) | set(
        interactions.item_stats.items
    )
    sold = [
        item
        for item, age in zip(interactions.history.items, oldest_purchase, strict=True)
        if age and item not in known
    ]
    never = [item for item in items.titles if item not in known]
    new_ids = [
        item
        for item in dict.fromkeys([*sold, *never])
        if item in items.titles and item not in items.barred
    ]
    return np.array(sorted(new_ids[:MAX_NEW_ITEMS]), dtype=object)


def _similarity(known: np.ndarray, new_ids: np.ndarray, items: Catalogue) -> csr_matrix:
    """Return the known items most similar to new ones.

    Similarity is the cosine of TF-IDF of character n-grams. `models.content` uses the same texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    empty = csr_matrix((len(known), len(new_ids)), dtype=np.float32)
    if not len(new_ids) or not len(known):
        return empty
    vectoriser = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 4),
        sublinear_tf=True,
        max_features=50_000,
        dtype=np.float32,
    )
    try:
        new_texts = csr_matrix(
            vectoriser.fit_transform(text.casefold() for text in items.texts_of(new_ids))
        )
    except ValueError:  # no texts
        return empty
    # many items share a text: each is compared once
    texts, place = np.unique(
        np.array([text.casefold() for text in items.texts_of(known)], dtype=object),
        return_inverse=True,
    )
    known_texts = csr_matrix(vectoriser.transform(texts))
    by_text = csr_matrix(new_texts @ known_texts.T)  # new × texts
    by_text.data[by_text.data < MIN_SIMILARITY] = 0
    by_text.eliminate_zeros()
    ones = np.ones(len(known), dtype=np.float32)
    items_of_texts = csr_matrix((ones, (place, np.arange(len(known)))), (len(texts), len(known)))
    similarity = csr_matrix(by_text @ items_of_texts)  # new × known
    similarity.sort_indices()  # equally similar items in their own order
    row = np.repeat(np.arange(similarity.shape[0]), np.diff(similarity.indptr))
    order = np.lexsort((-similarity.data, row))
    nearest = order[np.arange(similarity.nnz) - similarity.indptr[row] < NEAREST]
    return csr_matrix(
        (similarity.data[nearest], (similarity.indices[nearest], row[nearest])), shape=empty.shape
    )


BY_FRIENDS, BY_SEGMENT = "social", "popular_segment"


@dataclass(frozen=True, slots=True)
class ColdStartScores:
    """Hold item scores of customers without a history.

    Parameters
    ----------
    rows : ndarray of int
        Customers of the history with friends or segments.
    scores : csr_matrix (rows × items)
        Positive where an item is liked by friends or popular in the segments.
    friends : csr_matrix (rows × items)
        Friends' preferences.
    """

    rows: np.ndarray
    scores: csr_matrix
    friends: csr_matrix

    def source(self, row: int, column: int) -> str:
        """Return an item's source for a customer.

        Empty without a score.

        Parameters
        ----------
        row, column : int
            Position of the customer in the history; position of the item.
        """
        at = int(np.searchsorted(self.rows, row))
        if at == len(self.rows) or self.rows[at] != row or column >= self.scores.shape[1]:
            return ""
        if self.friends[at, column] > 0:
            return BY_FRIENDS
        return BY_SEGMENT if self.scores[at, column] > 0 else ""


NO_SCORES = ColdStartScores(np.empty(0, dtype=int), csr_matrix((0, 0)), csr_matrix((0, 0)))


def score_newcomers(
    lake: "Lake", at: datetime, interactions: Interactions, cold: ColdStart, items: np.ndarray
) -> ColdStartScores:
    """Score items for customers without a history.

    Friends' preferences replace their own in `ranking.ranker.mixture_scores`. The popularity in
    their segments counts as `POPULARITY_PRIOR` purchases.

    Parameters
    ----------
    lake : Lake
    at : datetime
        Nothing after it is read.
    interactions : Interactions
    cold : ColdStart
    items : ndarray of str

    Returns
    -------
    ColdStartScores
    """
    rows = np.flatnonzero(np.diff(interactions.liked.indptr) == 0)
    if not len(rows):
        return NO_SCORES
    customers = interactions.history.customers[rows]
    labels = segments(lake, at, customers).groupby("customer_id")["label"].agg(list)
    popular = cold.popular([labels.get(str(customer), []) for customer in customers], len(items))
    friends = liked_by_friends(lake, at, customers, items)
    scores = csr_matrix(friends + POPULARITY_PRIOR * popular)
    has_scores = np.flatnonzero(np.diff(scores.indptr))
    return ColdStartScores(rows[has_scores], scores[has_scores], friends[has_scores])
