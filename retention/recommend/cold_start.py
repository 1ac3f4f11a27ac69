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
from retention.recommend.evaluation.evaluation_context import Snapshot
from retention.recommend.item_similarity import looks_of, text_similarity
from retention.recommend.matrices import (
    drop_prefix,
    positions,
    restore_sparse,
    row_entries,
    sparse_arrays,
)
from retention.recommend.models.base import Segments, SideInformation
from retention.recommend.models.popularity import SegmentPopular
from retention.recommend.ranking.features import Interactions
from retention.recommend.ranking.ranker import POPULARITY_PRIOR
from retention.recommend.side_information import liked_by_friends, read_side_information, segments

if TYPE_CHECKING:
    from retention.lake import Lake

BEST, MAX_SEGMENTS = 100, 300  # items per segment; segments
NEW_DAYS = 56  # since the first sale, or never sold
MAX_NEW_ITEMS = 2_000  # items


@dataclass(frozen=True)
class ColdStart:
    """Hold segment bestsellers and similarities of new items.

    `labels`: segments: ``channel:web``, ``region:north``, ``first:tea``.
    `best`: positions of items, −1 if there are fewer.
    `share`: share of each item in the segment's sales.
    `similarity`: of (known items × new items), by text and picture.
    `looks`: the part of it that comes from pictures.
    """

    labels: np.ndarray
    best: np.ndarray
    share: np.ndarray
    new_items: np.ndarray
    similarity: csr_matrix
    looks: csr_matrix

    @cached_property
    def known_to_new(self) -> csr_matrix:
        """Similarities of (new items × known items)."""
        return csr_matrix(self.similarity.T)

    def look_of(self, new_item: int, known_item: int) -> float:
        """Return the part of a similarity that comes from pictures."""
        known, parts = row_entries(self._looks_of_new, new_item)
        return float(parts[known == known_item].sum())

    @cached_property
    def _looks_of_new(self) -> csr_matrix:
        return csr_matrix(self.looks.T)

    def popular(self, labels: Sequence[Sequence[str]], items: int) -> csr_matrix:
        """Return mean item shares over known segments. Empty without any."""
        segments = [positions(self.labels, list(line)) for line in labels]
        segments = [rows[rows >= 0] for rows in segments]
        sizes = np.array([len(rows) for rows in segments], dtype=np.int64)
        line = np.repeat(np.arange(len(segments)), sizes)
        segment = np.concatenate([*segments, np.empty(0, np.int64)])
        entries = 1 / np.repeat(sizes, sizes), (line, segment)
        membership = csr_matrix(entries, shape=(len(segments), len(self.labels)))
        return csr_matrix(membership @ self._shares(items))

    def _shares(self, items: int) -> csr_matrix:
        """Return the item shares as (segments × items)."""
        segment, place = np.nonzero(self.best >= 0)
        entries = self.share[segment, place], (segment, self.best[segment, place])
        return csr_matrix(entries, shape=(len(self.labels), items))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for the artefact."""
        segments = {"labels": self.labels, "best": self.best, "share": self.share}
        fresh = {"fresh": np.array(self.new_items, dtype=str)}
        looks = {f"looks.{name}": part for name, part in sparse_arrays(self.looks).items()}
        return segments | fresh | sparse_arrays(self.similarity) | looks

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from stored arrays."""
        fresh = arrays["fresh"].astype(object)
        alike = restore_sparse(arrays, len(fresh))
        pictures = drop_prefix(arrays, "looks.")  # earlier versions stored none
        looks = restore_sparse(pictures, len(fresh)) if pictures else csr_matrix(alike.shape)
        return cls(arrays["labels"], arrays["best"], arrays["share"], fresh, alike, looks)


def learn_cold_start(lake: "Lake", now: Snapshot, items: Catalogue) -> ColdStart:
    """Learn segment bestsellers and similarities of new items.

    `now`: nothing after it is read.
    `items`: the catalogue of today: a new item may have a later description.
    """
    interactions = now.interactions
    side = _largest(read_side_information(lake, interactions, (), SegmentPopular.uses))
    popularity = SegmentPopular().fit(interactions.liked, side=side)
    best, share = _best(popularity.within_)
    new_ids = find_new_items(now, items)
    similarity = text_similarity(interactions.item_stats.items, new_ids, items)
    looks = csr_matrix(similarity.shape, dtype=np.float32)
    if lake.uses_pictures:
        looks = looks_of(lake, new_ids, interactions, items)
    both = csr_matrix(similarity + looks)
    return ColdStart(popularity.labels_, best, share, new_ids, both, looks)


def _largest(side: SideInformation) -> SideInformation:
    """Keep the segments with most customers."""
    if side.segments is None or len(side.segments.labels) <= MAX_SEGMENTS:
        return side
    labels, member = side.segments.labels, side.segments.member
    size = np.asarray(member.sum(axis=0)).ravel()
    largest = np.sort(np.argsort(-size, kind="stable")[:MAX_SEGMENTS])
    return replace(side, segments=Segments(labels[largest], csr_matrix(member[:, largest])))


def _best(within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = min(BEST, within.shape[1])
    order = np.argsort(-within, axis=1, kind="stable")[:, :count].astype(np.int32)
    share = np.take_along_axis(within, order.astype(np.int64), 1)
    return np.where(share > 0, order, -1).astype(np.int32), share.astype(np.float32)


def find_new_items(now: Snapshot, items: Catalogue) -> np.ndarray:
    """Return recommendable items first sold lately or never.

    The ids are sorted.

    Returns: at most `MAX_NEW_ITEMS`, without items that have statistics.
    """
    ids, seen = now.interactions.history.items, now.interactions.seen
    oldest_purchase = np.zeros(len(ids))
    bought = seen.days > 0
    np.maximum.at(oldest_purchase, seen.item[bought], seen.first[bought])
    known = {*ids[oldest_purchase > NEW_DAYS], *now.interactions.item_stats.items}
    sold_first = dict.fromkeys([*ids[oldest_purchase > 0], *items.titles])
    new_ids = [
        item
        for item in sold_first
        if item not in known and item in items.titles and item not in items.barred
    ]
    return np.array(sorted(new_ids[:MAX_NEW_ITEMS]), dtype=object)


BY_FRIENDS, BY_SEGMENT = "social", "popular_segment"


@dataclass(frozen=True, slots=True)
class ColdStartScores:
    """Hold item scores of customers without a history."""

    rows: np.ndarray
    scores: csr_matrix
    friends: csr_matrix

    def source(self, row: int, column: int) -> str:
        """Return an item's source for a customer. Empty without a score."""
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

    `at`: nothing after it is read.
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
