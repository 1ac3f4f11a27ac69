"""Where candidates come from, by name, and what each source says of every candidate.

``own`` (bought before), ``collaborative`` (EASE or ALS), ``neighbours`` (customers like them), ``favourite`` (what sells
in the types of product they buy), ``popular`` and ``trending``. The ranker decides between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.features import LEARN_HALF_LIFE, Scene, features
from retention.recommend.matrices import first_columns, in_rows, some_rows
from retention.recommend.models import Model
from retention.recommend.models.user_knn import UserKnn
from retention.recommend.shelf import Shelf

WANTED = {
    "own": 250, "collaborative": 100, "neighbours": 60, "favourite": 60, "popular": 40, "trending": 20,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Learned:
    """What the sources know of items before one moment; no customer under an id."""

    shelf: Shelf
    model: Model | None
    neighbours: UserKnn | None


class Said:
    """What the models say of customers with these histories (rows × items), asked once; dense, so of a batch at a time."""

    def __init__(self, learned: Learned, histories: csr_matrix) -> None:
        self.learned, self.histories = learned, histories

    @cached_property
    def _known(self) -> csr_matrix:
        return first_columns(self.histories, len(self.learned.shelf.items))

    @cached_property
    def others(self) -> np.ndarray:
        """By the collaborative model."""
        return _padded(self.learned.model, self._known, self.histories.shape[1])

    @cached_property
    def alike(self) -> np.ndarray:
        """By customers like them."""
        return _padded(self.learned.neighbours, self._known, self.histories.shape[1])


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of a customer (row of the batch) and a shelf position, in their order, with the ranker's view of each."""

    row: np.ndarray
    column: np.ndarray
    own: np.ndarray
    view: np.ndarray


def candidates(
    learned: Learned,
    scene: Scene,
    rows: np.ndarray,
    *,
    sources: Sequence[str] = tuple(WANTED),
    heard: Said | None = None,
) -> Candidates:
    """The candidates of these customers of the scene.

    Parameters
    ----------
    learned : Learned
    scene : Scene
    rows : ndarray of int
        Customers of the scene; a few hundred at a time, for dense (rows × items) scores are made on the way.
    sources : sequence of str
        Of the names in `WANTED`; fewer for an ablation.
    heard : Said, optional
        Of these customers, where it is asked for again.
    """
    heard = heard or Said(learned, some_rows(scene.liked, rows))
    bought = some_rows(scene.bought, rows).toarray() > 0
    said = {"collaborative": heard.others, "neighbours": heard.alike, "favourite": _favourites(scene, rows)}
    chosen = _most_faded(scene, rows, bought.shape) if "own" in sources else np.zeros_like(bought)
    for name in ("collaborative", "neighbours", "favourite"):
        if name in sources:
            _mark(chosen, said[name], ~bought, WANTED[name])
    for name in ("popular", "trending"):
        if name in sources:  # who has had nine tenths needs no more
            _mark_for_all(chosen, bought, scene.shelf.best(name, 10 * WANTED[name]), WANTED[name])
    row, column = np.nonzero(chosen)
    scores = {name: said[name][row, column] for name in ("collaborative", "neighbours", "favourite")}
    scores["collaborative_rank"] = _ranks(said["collaborative"], row, column)
    view = features(scene, rows[row], column, scores)
    return Candidates(row, column, bought[row, column], view)


def _padded(model: "Model | None", known: csr_matrix, items: int) -> np.ndarray:
    """What a model says of the whole shelf; zeros without one, and for items it does not know."""
    found = np.zeros((known.shape[0], items), dtype=np.float32)
    if model is not None:
        found[:, : known.shape[1]] = model.scores(known)
    return found


def _favourites(scene: Scene, rows: np.ndarray) -> np.ndarray:
    """How much a customer buys of an item's type, times the item's share of what sells of it."""
    habit = scene.habits["type"]
    who, kind = np.divmod(habit.key, habit.size)
    values = np.log1p(habit.faded).astype(np.float32)
    faded = in_rows(who, kind, values, (len(scene.history.customers), habit.size))
    share = np.where(habit.code >= 0, scene.shelf.within("type"), 0)
    return some_rows(faded, rows).toarray().take(habit.code, axis=1) * share


def _most_faded(scene: Scene, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The customer's own items (bought, in the cart, looked at), those of the strongest faded preference where there are very many."""
    column = scene.place[scene.seen.item]
    chosen = (column >= 0) & (
        scene.seen.faded[LEARN_HALF_LIFE] > 0
    )  # not what was brought back or rated badly
    values = scene.seen.faded[90][chosen].clip(min=1e-9)
    own = some_rows(in_rows(scene.seen.customer[chosen], column[chosen], values, scene.size), rows)
    marked = np.zeros(shape, dtype=bool)
    row = np.repeat(np.arange(shape[0]), np.diff(own.indptr))
    place = np.arange(own.nnz) - own.indptr[row]
    best = np.lexsort((-own.data, row))[place < WANTED["own"]]  # in order of row, so ``place`` is the rank
    marked[row[best], own.indices[best]] = True
    return marked


def _mark_for_all(chosen: np.ndarray, bought: np.ndarray, order: np.ndarray, count: int) -> None:
    """Mark the first ``count`` of one order for everybody that a customer has not had."""
    fresh = ~bought[:, order]
    row, at = np.nonzero(fresh & (np.cumsum(fresh, axis=1) <= count))
    chosen[row, order[at]] = True


def _mark(chosen: np.ndarray, scores: np.ndarray, open_: np.ndarray, count: int) -> None:
    """Mark the best ``count`` of each row among those that are open and score above 0; equal ones by position."""
    open_ = open_ & (scores > 0)
    if count >= scores.shape[1]:
        chosen |= open_
        return
    behind = np.where(open_, -scores, np.inf)
    bar = np.partition(behind, count - 1, axis=1)[:, [count - 1]]
    best, tied = behind < bar, open_ & (behind == bar)
    left = count - np.count_nonzero(best, axis=1, keepdims=True)
    chosen |= best | (tied & (np.cumsum(tied, axis=1) <= left))


def _ranks(scores: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The place of each pair among all items of its row, from 0; pairs in order of row."""
    ranks = np.empty(len(row), dtype=np.float32)
    begins = np.searchsorted(row, np.arange(scores.shape[0] + 1))
    for number, line in enumerate(np.sort(scores, axis=1)):
        inside = slice(begins[number], begins[number + 1])
        ranks[inside] = len(line) - np.searchsorted(line, scores[number, column[inside]], side="right")
    return ranks
