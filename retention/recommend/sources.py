"""Where candidates come from, by name, and what each source says of every candidate.

``own`` (bought before), ``collaborative`` (EASE or ALS), ``neighbours`` (customers like them), ``favourite`` (what sells
in the types of product they buy), ``popular`` and ``trending``. The ranker decides between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.item_stats import Shelf
from retention.recommend.matrices import at_pairs, first_columns, some_rows, top
from retention.recommend.models import Model
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.ranking.features import LEARN_HALF_LIFE, Scene, features

WANTED = {
    "own": 250,
    "collaborative": 100,
    "neighbours": 60,
    "favourite": 60,
    "popular": 40,
    "trending": 20,
}


@dataclass(frozen=True, slots=True)
class Learned:
    """What the sources know of items before one moment; no customer under an id."""

    shelf: Shelf
    model: Model | None
    neighbours: UserKnn | None


class Said:
    """What the models say of customers with these histories, asked once; dense (rows × items learned of), so of a batch at a time."""

    def __init__(self, learned: Learned, histories: csr_matrix) -> None:
        self.learned = learned
        self.known = first_columns(histories, len(learned.shelf.items))

    @cached_property
    def others(self) -> np.ndarray:
        """By the collaborative model."""
        return self._by(self.learned.model)

    @cached_property
    def alike(self) -> np.ndarray:
        """By customers like them."""
        return self._by(self.learned.neighbours)

    def of(self, rows: np.ndarray) -> "Said":
        """Of some of these customers, by place, without asking again."""
        if len(rows) == self.known.shape[0]:
            return self
        part = Said(self.learned, some_rows(self.known, rows))
        if len(rows):
            part.others, part.alike = self.others[rows], self.alike[rows]
        return part

    def _by(self, model: "Model | None") -> np.ndarray:
        return (
            np.zeros(self.known.shape, dtype=np.float32)
            if model is None
            else model.scores(self.known)
        )


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
    bought = _had(scene, rows)
    said = {
        "collaborative": heard.others,
        "neighbours": heard.alike,
        "favourite": _favourites(learned.shelf, scene, rows),
    }
    chosen = np.zeros_like(bought)
    if "own" in sources:
        _most_faded(scene, rows, chosen)
    fresh = ~bought[:, : learned.shelf.size]
    for name, found in said.items():
        if name in sources:
            _mark(chosen, found, fresh, WANTED[name])
    for name in ("popular", "trending"):
        if name in sources:  # who has had nine tenths needs no more
            _mark_for_all(chosen, bought, scene.shelf.best(name, 10 * WANTED[name]), WANTED[name])
    row, column = np.nonzero(chosen)
    scores = {name: at_pairs(found, row, column) for name, found in said.items()}
    scores["collaborative_rank"] = _ranks(
        said["collaborative"], row, scores["collaborative"], scene.shelf.size
    )
    view = features(scene, rows[row], column, scores)
    return Candidates(row, column, bought[row, column], view)


def _favourites(known: Shelf, scene: Scene, rows: np.ndarray) -> np.ndarray:
    """How much a customer buys of an item's type, times the item's share of what sells of it."""
    habit = scene.habits["type"]
    who, kind = np.divmod(habit.key, habit.size)
    row, inside = _among(scene, rows, who)
    faded = np.zeros((len(rows), habit.size), dtype=np.float32)
    faded[row, kind[inside]] = np.log1p(habit.faded[inside])
    return faded.take(known.groups["type"], axis=1) * known.shares["type"]


def _had(scene: Scene, rows: np.ndarray) -> np.ndarray:
    """Whether a customer has ever bought an item (rows × items of the shelf)."""
    column = scene.place[scene.seen.item]
    bought = np.flatnonzero((column >= 0) & (scene.seen.days > 0))
    row, inside = _among(scene, rows, scene.seen.customer[bought])
    had = np.zeros((len(rows), scene.shelf.size), dtype=bool)
    had[row, column[bought[inside]]] = True
    return had


def _most_faded(scene: Scene, rows: np.ndarray, chosen: np.ndarray) -> None:
    """Mark the customer's own items (bought, in the cart, looked at), those of the strongest faded preference where there are very many."""
    column = scene.place[scene.seen.item]
    own = np.flatnonzero(
        (column >= 0) & (scene.seen.faded[LEARN_HALF_LIFE] > 0)
    )  # not what was brought back or rated badly
    row, inside = _among(scene, rows, scene.seen.customer[own])
    column, values = column[own[inside]], scene.seen.faded[90][own[inside]].clip(min=1e-9)
    order = np.lexsort((column, -values, row))
    row, column = row[order], column[order]
    best = np.arange(len(row)) - np.searchsorted(row, row) < WANTED["own"]
    chosen[row[best], column[best]] = True


def _among(scene: Scene, rows: np.ndarray, customer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which row each of these customers has, of those who have one; and where they stand."""
    place = np.full(len(scene.history.customers), -1)
    place[rows] = np.arange(len(rows))
    inside = np.flatnonzero(place[customer] >= 0)
    return place[customer[inside]], inside


def _mark_for_all(chosen: np.ndarray, bought: np.ndarray, order: np.ndarray, count: int) -> None:
    """Mark the first ``count`` of one order for everybody that a customer has not had."""
    fresh = ~bought[:, order]
    row, at = np.nonzero(fresh & (np.cumsum(fresh, axis=1) <= count))
    chosen[row, order[at]] = True


def _mark(chosen: np.ndarray, scores: np.ndarray, open_: np.ndarray, count: int) -> None:
    """Mark the best ``count`` of each row among those that are open and score above 0; equal ones by position."""
    for row, (line, free) in enumerate(zip(scores, open_, strict=True)):
        at = np.flatnonzero(free & (line > 0))
        chosen[row, at[top(line[at], count)] if len(at) > count else at] = True


def _ranks(scores: np.ndarray, row: np.ndarray, values: np.ndarray, items: int) -> np.ndarray:
    """The place of each pair's score among all items of its row, from 0, where those behind the end have 0; pairs in order of row."""
    ranks = np.empty(len(row), dtype=np.float32)
    begins = np.searchsorted(row, np.arange(scores.shape[0] + 1))
    for number, line in enumerate(np.sort(scores, axis=1)):
        inside = slice(begins[number], begins[number + 1])
        ranks[inside] = len(line) - np.searchsorted(line, values[inside], side="right")
    return ranks + (values < 0) * np.float32(items - scores.shape[1])
