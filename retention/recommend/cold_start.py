"""Cold start, as it is learned: what sells in the segments of customers, and what items without buyers read like.

Learned with everything else, and kept small: the best of each segment, and of each new item the nearest that have buyers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.catalogue import Catalogue
from retention.recommend.evaluation_context import Moment
from retention.recommend.id_index import positions
from retention.recommend.models import Segments, SideInformation
from retention.recommend.models.popularity import SegmentPopular
from retention.recommend.side_information import beside

if TYPE_CHECKING:
    from retention.lake import Lake

BEST, MOST_SEGMENTS = 100, 300  # items a segment
NEW_DAYS = 56  # first sold within so many days, or never
MOST_NEW = 2_000  # items
NEAREST = 10  # items with buyers that speak for a new one
ALIKE = 0.2  # cosine; below, they only share a few letters


@dataclass(frozen=True)
class Cold:
    """What is known of newcomers.

    Parameters
    ----------
    labels : ndarray of str
        Segments: ``channel:web``, ``region:north``, ``first:tea``.
    best : ndarray of int32 (segments × `BEST`)
        Positions on the shelf, −1 where there are no more.
    share : ndarray of float32 (segments × `BEST`)
        Each item's share of what sells in the segment.
    fresh : ndarray of str
        Items with too few buyers to be learned about that are new.
    alike : csr_matrix (shelf × fresh)
        Cosine of their words with those of items that have buyers.
    """

    labels: np.ndarray
    best: np.ndarray
    share: np.ndarray
    fresh: np.ndarray
    alike: csr_matrix

    @cached_property
    def known_to_new(self) -> csr_matrix:
        """``alike``, turned: (fresh × shelf)."""
        return csr_matrix(self.alike.T)

    def popular(self, labels: Sequence[Sequence[str]], items: int) -> csr_matrix:
        """(lines of labels × items) the mean share over those of a line's segments that are known; empty without any."""
        told = [positions(self.labels, list(line)) for line in labels]
        told = [rows[rows >= 0] for rows in told]
        sizes = np.array([len(rows) for rows in told], dtype=np.int64)
        line, segment = (
            np.repeat(np.arange(len(told)), sizes),
            np.concatenate([*told, np.empty(0, np.int64)]),
        )
        belongs = csr_matrix(
            (1 / np.repeat(sizes, sizes), (line, segment)), shape=(len(told), len(self.labels))
        )
        return csr_matrix(belongs @ self._shares(items))

    def _shares(self, items: int) -> csr_matrix:
        """(segments × items)."""
        segment, place = np.nonzero(self.best >= 0)
        entries = self.share[segment, place], (segment, self.best[segment, place])
        return csr_matrix(entries, shape=(len(self.labels), items))

    def arrays(self) -> dict[str, np.ndarray]:
        """For the artefact."""
        return {
            "labels": self.labels,
            "best": self.best,
            "share": self.share,
            "fresh": np.array(self.fresh, dtype=str),
            "data": self.alike.data,
            "indices": self.alike.indices,
            "indptr": self.alike.indptr,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The knowledge of these arrays."""
        shape = (len(arrays["indptr"]) - 1, len(arrays["fresh"]))
        alike = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        fresh = arrays["fresh"].astype(object)
        return cls(arrays["labels"], arrays["best"], arrays["share"], fresh, alike)


def learn_cold(lake: "Lake", now: Moment, items: Catalogue) -> Cold:
    """Learn of segments and of new items from what is known at a moment.

    Parameters
    ----------
    lake : Lake
    now : Moment
        Nothing at or after it is seen.
    items : Catalogue
        The catalogue is as it is today: a new item that was described later has its later words.
    """
    scene = now.scene
    side = _largest(beside(lake, scene, (), SegmentPopular.uses))
    known = SegmentPopular().fit(scene.liked, side=side)
    best, share = _best(known.within_)
    fresh = new_items(now, items)
    return Cold(known.labels_, best, share, fresh, _alike(scene.shelf.items, fresh, items))


def _largest(side: SideInformation) -> SideInformation:
    """Without the segments of the fewest customers, where there are very many."""
    if side.segments is None or len(side.segments.labels) <= MOST_SEGMENTS:
        return side
    size = np.asarray(side.segments.member.sum(axis=0)).ravel()
    kept = np.sort(np.argsort(-size, kind="stable")[:MOST_SEGMENTS])
    return replace(
        side,
        segments=Segments(side.segments.labels[kept], csr_matrix(side.segments.member[:, kept])),
    )


def _best(within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = min(BEST, within.shape[1])
    order = np.argsort(-within, axis=1, kind="stable")[:, :count].astype(np.int32)
    share = np.take_along_axis(within, order.astype(np.int64), 1)
    return np.where(share > 0, order, -1).astype(np.int32), share.astype(np.float32)


def new_items(now: Moment, items: Catalogue) -> np.ndarray:
    """Ids that may be recommended, are not on the shelf, and were first sold lately or never; sorted, at most `MOST_NEW`."""
    scene = now.scene
    first = np.zeros(len(scene.history.items))
    bought = scene.seen.days > 0
    np.maximum.at(first, scene.seen.item[bought], scene.seen.first[bought])
    old = set(scene.history.items[first > NEW_DAYS]) | set(scene.shelf.items)
    sold = [
        item
        for item, age in zip(scene.history.items, first, strict=True)
        if age and item not in old
    ]
    never = [item for item in items.titles if item not in old]
    wanted = [
        item
        for item in dict.fromkeys([*sold, *never])
        if item in items.titles and item not in items.barred
    ]
    return np.array(sorted(wanted[:MOST_NEW]), dtype=object)


def _alike(known: np.ndarray, fresh: np.ndarray, items: Catalogue) -> csr_matrix:
    """The `NEAREST` items with buyers of each new one, by TF-IDF of character n-grams, as `models.content` reads them."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    nothing = csr_matrix((len(known), len(fresh)), dtype=np.float32)
    if not len(fresh) or not len(known):
        return nothing
    reader = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 4),
        sublinear_tf=True,
        max_features=50_000,
        dtype=np.float32,
    )
    try:
        ours = csr_matrix(reader.fit_transform(text.casefold() for text in items.texts_of(fresh)))
    except ValueError:  # nothing is written of any of them
        return nothing
    theirs = csr_matrix(reader.transform(text.casefold() for text in items.texts_of(known)))
    found = csr_matrix(ours @ theirs.T)  # new × known
    found.data[found.data < ALIKE] = 0
    found.eliminate_zeros()
    row = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    order = np.lexsort((-found.data, row))
    kept = order[np.arange(found.nnz) - found.indptr[row] < NEAREST]
    return csr_matrix((found.data[kept], (found.indices[kept], row[kept])), shape=nothing.shape)
