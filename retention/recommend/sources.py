"""Where candidates come from, by name, and what each source says of every candidate.

``own`` (bought before), ``collaborative`` (EASE or ALS), ``neighbours`` (customers like them), ``favourite`` (what sells
in the types of product they buy), ``popular`` and ``trending``. The ranker decides between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.features import Scene, features
from retention.recommend.matrices import top
from retention.recommend.models import Model
from retention.recommend.models.user_knn import UserKnn
from retention.recommend.shelf import Shelf

if TYPE_CHECKING:
    from retention.recommend.history import Pairs

LEARN_HALF_LIFE = 240  # of the histories the collaborative models learn from
WANTED = {
    "own": 250, "collaborative": 100, "neighbours": 60, "favourite": 60, "popular": 40, "trending": 20,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Learned:
    """What the sources know of items before one moment; no customer under an id."""

    shelf: Shelf
    model: Model | None
    neighbours: UserKnn | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of a customer (row of the batch) and a shelf position, in their order, with the ranker's view of each."""

    row: np.ndarray
    column: np.ndarray
    own: np.ndarray
    view: np.ndarray


def tastes(seen: "Pairs", place: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """What a collaborative model learns from and scores: log(1 + faded preference), never negative."""
    column = place[seen.item]
    values = np.log1p(seen.faded[LEARN_HALF_LIFE].clip(min=0))
    chosen = (column >= 0) & (values > 0)
    entries = values[chosen].astype(np.float32)
    return csr_matrix((entries, (seen.customer[chosen], column[chosen])), shape=shape)


def had(scene: Scene, shape: tuple[int, int]) -> csr_matrix:
    """Ones where a customer has ever bought an item of the shelf."""
    column = scene.place[scene.seen.item]
    chosen = (column >= 0) & (scene.seen.days > 0)
    ones = np.ones(int(chosen.sum()), dtype=np.float32)
    return csr_matrix((ones, (scene.seen.customer[chosen], column[chosen])), shape=shape)


def candidates(
    learned: Learned, scene: Scene, rows: np.ndarray, *, sources: Sequence[str] = tuple(WANTED)
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
    """
    shape = (len(scene.history.customers), len(scene.shelf.items))
    histories = tastes(scene.seen, scene.place, shape)[rows]
    bought = had(scene, shape)[rows].toarray() > 0
    said = _said(learned, scene, rows, histories)
    chosen = _most_faded(scene, rows, bought.shape) if "own" in sources else np.zeros_like(bought)
    for name in ("collaborative", "neighbours", "favourite"):
        if name in sources:
            _mark(chosen, np.where(bought, -np.inf, said[name]), WANTED[name])
    for name, liked in (("popular", scene.shelf.fact("buyers_28")), ("trending", _rising(scene.shelf))):
        if name in sources:
            _mark_for_all(chosen, bought, liked, WANTED[name])
    row, column = np.nonzero(chosen)
    scores = {name: said[name][row, column] for name in ("collaborative", "neighbours", "favourite")}
    scores["collaborative_rank"] = _ranks(said["collaborative"], row, column)
    view = features(scene, rows[row], column, scores)
    return Candidates(row, column, bought[row, column], view)


def others(learned: Learned, histories: csr_matrix) -> np.ndarray:
    """What the collaborative model says of the whole shelf; zeros without one, and for items it does not know."""
    return _padded(learned.model, histories, len(learned.shelf.items))


def _padded(model: "Model | None", histories: csr_matrix, known: int) -> np.ndarray:
    found = np.zeros(histories.shape, dtype=np.float32)
    if model is not None:
        found[:, :known] = model.scores(csr_matrix(histories[:, :known]))
    return found


def _said(learned: Learned, scene: Scene, rows: np.ndarray, histories: csr_matrix) -> dict[str, np.ndarray]:
    """The dense scores (rows × items) of the sources that score everything; zeros where a model is missing."""
    return {
        "collaborative": others(learned, histories),
        "neighbours": _padded(learned.neighbours, histories, len(learned.shelf.items)),
        "favourite": _favourites(scene, rows),
    }


def _favourites(scene: Scene, rows: np.ndarray) -> np.ndarray:
    """How much a customer buys of an item's type, times the item's share of what sells of it."""
    habit = scene.habits["type"]
    who, kind = np.divmod(habit.key, habit.size)
    shape = (len(scene.history.customers), habit.size)
    faded = csr_matrix((np.log1p(habit.faded).astype(np.float32), (who, kind)), shape=shape)[rows]
    share = np.where(habit.code >= 0, scene.shelf.within("type"), 0)
    return faded.toarray()[:, habit.code] * share


def _rising(shelf: Shelf) -> np.ndarray:
    """Bought by more and more customers; with the square root, so that three buyers after none are no trend."""
    lately, before = shelf.fact("buyers_28"), shelf.fact("buyers_before")
    return (lately - before) / np.sqrt(lately + before + 1)


def _most_faded(scene: Scene, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The customer's own items (bought, in the cart, looked at), those of the strongest faded preference where there are very many."""
    column = scene.place[scene.seen.item]
    chosen = (column >= 0) & (
        scene.seen.faded[LEARN_HALF_LIFE] > 0
    )  # not what was brought back or rated badly
    full = (len(scene.history.customers), shape[1])
    values = scene.seen.faded[90][chosen].clip(min=1e-9)
    own = csr_matrix((values, (scene.seen.customer[chosen], column[chosen])), shape=full)[rows]
    marked = np.zeros(shape, dtype=bool)
    row = np.repeat(np.arange(shape[0]), np.diff(own.indptr))
    place = np.arange(own.nnz) - own.indptr[row]
    best = np.lexsort((-own.data, row))[place < WANTED["own"]]  # in order of row, so ``place`` is the rank
    marked[row[best], own.indices[best]] = True
    return marked


def _mark_for_all(chosen: np.ndarray, bought: np.ndarray, liked: np.ndarray, count: int) -> None:
    """Mark the best ``count`` that a customer has not had, of one order for everybody."""
    order = top(np.where(liked > 0, liked, -np.inf), 10 * count)  # who has had nine tenths needs no more
    fresh = ~bought[:, order]
    row, at = np.nonzero(fresh & (np.cumsum(fresh, axis=1) <= count))
    chosen[row, order[at]] = True


def _mark(chosen: np.ndarray, scores: np.ndarray, count: int) -> None:
    """Mark the best ``count`` of each row that score above −∞ and above 0."""
    scores = np.where(scores > 0, scores, -np.inf)
    if count < scores.shape[1]:
        best = np.argpartition(-scores, count, axis=1)[:, :count]
        good = np.isfinite(np.take_along_axis(scores, best, 1))
        row, at = np.nonzero(good)
        chosen[row, best[row, at]] = True
    else:
        chosen |= np.isfinite(scores)


def _ranks(scores: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The place of each pair among all items of its row, from 0; pairs in order of row."""
    ranks = np.empty(len(row), dtype=np.float32)
    begins = np.searchsorted(row, np.arange(scores.shape[0] + 1))
    for number, line in enumerate(np.sort(scores, axis=1)):
        inside = slice(begins[number], begins[number + 1])
        ranks[inside] = len(line) - np.searchsorted(line, scores[number, column[inside]], side="right")
    return ranks
