"""What every model does, and the checks at its door.

A model learns items from customers' histories and scores any history, also one it has not been trained on: no
customer is stored under an id, so nobody can get another's list, and a customer who is new since the training is
scored like all others. Most need only the matrix of preferences; some look at what is known beside it (`Side`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Days:
    """Days of purchase: one line a (row, column, day), in order of row.

    Parameters
    ----------
    row, column : ndarray of int
        Of the matrix of preferences.
    age : ndarray of float
        Days from the purchase to the moment of looking; never negative.
    """

    row: np.ndarray
    column: np.ndarray
    age: np.ndarray

    def of(self, rows: np.ndarray) -> Self:
        """The lines of these rows, which become the rows 0, 1, 2 …"""
        begin, end = np.searchsorted(self.row, rows), np.searchsorted(self.row, rows, side="right")
        count = end - begin
        lines = np.repeat(end - np.cumsum(count), count) + np.arange(int(count.sum()))
        return type(self)(
            np.repeat(np.arange(len(rows)), count), self.column[lines], self.age[lines]
        )


@dataclass(frozen=True, slots=True)
class Segments:
    """Which rows belong to which segments (a channel, a region, a kind of first basket): ones in (rows × labels)."""

    labels: np.ndarray
    member: csr_matrix


@dataclass(frozen=True, slots=True)
class Side:
    """What is known beside the matrix of preferences; None where it is not.

    Parameters
    ----------
    days : Days, optional
        When it was bought.
    texts : sequence of str, optional
        Title and attributes of each item (column).
    segments : Segments, optional
    friends : csr_matrix, optional
        (rows × items): what those whom a customer follows, or who brought them, have shown about each item.
    """

    days: Days | None = None
    texts: Sequence[str] | None = None
    segments: Segments | None = None
    friends: csr_matrix | None = None

    def of(self, rows: np.ndarray) -> Self:
        """The same of some rows, in their order."""
        segments = self.segments and Segments(
            self.segments.labels, csr_matrix(self.segments.member[rows])
        )
        friends = None if self.friends is None else csr_matrix(self.friends[rows])
        return type(self)(self.days and self.days.of(rows), self.texts, segments, friends)

    def upto(self, items: int) -> Self:
        """The same of the first so many items, where a model has learned of no others."""
        days = self.days
        if days is not None:
            days = Days(*(line[days.column < items] for line in (days.row, days.column, days.age)))
        friends = None if self.friends is None else csr_matrix(self.friends[:, :items])
        return type(self)(days, self.texts and self.texts[:items], self.segments, friends)


NOTHING = Side()


@runtime_checkable
class Model(Protocol):
    """Learns from the (customers × items) matrix of non-negative preferences, and what is known beside it.

    What a model cannot tell of a customer is 0, which means "nothing known" and never "the first items".
    """

    name: str
    looks_at: ClassVar[tuple[str, ...]]
    """Of the names of `Side`, those it makes use of."""

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn. ``matrix`` is (customers × items), checked by `checked`. May raise `Cancelled` from ``progress``.

        A model fitted again forgets what it knew, also where the matrix has grown.
        """
        ...

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """Scores (histories × items), float32; higher is liked more; own items are scored like any other."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything learned, as plain arrays."""
        ...

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        ...


@runtime_checkable
class Collaborative(Model, Protocol):
    """A model that reasons from the single entries of a history, and so can say "because they bought X"."""

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """How much each entry of one history (1 × items) adds to the score of each of ``items``.

        Returns (items × entries of the history). Their sum is the score, up to what the model says of an item to
        everybody; the reason "because they bought X" is the largest column.
        """
        ...


def checked(matrix: csr_matrix) -> csr_matrix:
    """The matrix as every model wants it: CSR float32, finite, non-negative, without stored zeros.

    Raises
    ------
    ValueError
        For what implicit would take without a word and answer wrongly: negative or missing preferences.
    """
    clean = csr_matrix(matrix, dtype=np.float32, copy=True)
    if not np.isfinite(clean.data).all():
        raise ValueError("a preference is missing or infinite")
    if (clean.data < 0).any():
        raise ValueError("a preference is negative; take such items out instead")
    clean.sum_duplicates()
    clean.eliminate_zeros()
    clean.sort_indices()
    return clean


def owners(matrix: csr_matrix) -> np.ndarray:
    """How many customers have each item, (items,)."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])
