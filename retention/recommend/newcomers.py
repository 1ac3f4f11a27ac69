"""What customers without a history are offered: what those they know like, and what sells in their segments."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.cold_start import Cold
from retention.recommend.ranking.features import Scene
from retention.recommend.ranking.ranker import POPULARITY_PRIOR
from retention.recommend.relations import liked_by_friends
from retention.recommend.side_information import segments

if TYPE_CHECKING:
    from retention.lake import Lake

BY_FRIENDS, BY_SEGMENT = "social", "popular_segment"


@dataclass(frozen=True, slots=True)
class Newcomers:
    """What speaks for items, of the newcomers of whom anything is known.

    Parameters
    ----------
    rows : ndarray of int
        Customers of the scene.
    scores : csr_matrix (rows × items learned of)
        Only what something speaks for.
    friends : csr_matrix, as ``scores``
        What somebody they know likes.
    """

    rows: np.ndarray
    scores: csr_matrix
    friends: csr_matrix

    def source(self, row: int, column: int) -> str:
        """Of an item that such a customer is offered; empty where nothing here speaks for it."""
        at = int(np.searchsorted(self.rows, row))
        if at == len(self.rows) or self.rows[at] != row or column >= self.scores.shape[1]:
            return ""
        if self.friends[at, column] > 0:
            return BY_FRIENDS
        return BY_SEGMENT if self.scores[at, column] > 0 else ""


NOBODY = Newcomers(np.empty(0, dtype=int), csr_matrix((0, 0)), csr_matrix((0, 0)))


def newcomers(lake: "Lake", at: datetime, scene: Scene, cold: Cold, items: np.ndarray) -> Newcomers:
    """The newcomers of a scene, by what is known before a moment.

    Their friends' preferences stand where their own would (`mixture_scores`): popularity, here of their segments, counts
    as `POPULARITY_PRIOR` purchases of everybody's.
    """
    rows = np.flatnonzero(np.diff(scene.liked.indptr) == 0)
    if not len(rows):
        return NOBODY
    customers = scene.history.customers[rows]
    labels = segments(lake, at, customers).groupby("customer_id")["label"].agg(list)
    popular = cold.popular([labels.get(str(one), []) for one in customers], len(items))
    friends = liked_by_friends(lake, at, customers, items)
    scores = csr_matrix(friends + POPULARITY_PRIOR * popular)
    known = np.flatnonzero(np.diff(scores.indptr))
    return Newcomers(rows[known], scores[known], friends[known])
