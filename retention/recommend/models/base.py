"""Define the interface of all recommendation models.

A model learns items from customers' histories and scores any history, including histories that
it was not trained on. No customer is stored under an id, and new customers are scored like all
others. Most models need only the interaction matrix; some also use `SideInformation`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.matrices import spans

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class PurchaseDays:
    """Hold days of purchase, sorted by row.

    There is one line per (row, column, day).

    `age`: days from the purchase to the reference time; never negative.
    """

    row: np.ndarray
    column: np.ndarray
    age: np.ndarray

    def select(self, rows: np.ndarray) -> Self:
        """Select rows and renumber them 0, 1, 2 …"""
        ends = np.searchsorted(self.row, rows, side="right")
        count, lines = spans(np.searchsorted(self.row, rows), ends)
        row = np.repeat(np.arange(len(rows)), count)
        return type(self)(row, self.column[lines], self.age[lines])


@dataclass(frozen=True, slots=True)
class Segments:
    """Assign rows to segments. Examples are a channel, a region or a kind of first basket."""

    labels: np.ndarray
    member: csr_matrix


@dataclass(frozen=True, slots=True)
class SideInformation:
    """Hold information besides the interaction matrix.

    Missing parts are None.

    `friends`: (rows × items): summed preferences of the people that a customer follows, referred or
    was referred by.
    """

    days: PurchaseDays | None = None
    texts: Sequence[str] | None = None
    segments: Segments | None = None
    friends: csr_matrix | None = None

    def select(self, rows: np.ndarray) -> Self:
        """Select rows, in the given order."""
        segments = self.segments and Segments(
            self.segments.labels, csr_matrix(self.segments.member[rows])
        )
        friends = None if self.friends is None else csr_matrix(self.friends[rows])
        return type(self)(self.days and self.days.select(rows), self.texts, segments, friends)

    def first_items(self, items: int) -> Self:
        """Keep the first ``items`` columns.

        This is needed if the model was fitted on these only.
        """
        days = self.days
        if days is not None:
            is_kept = days.column < items
            days = PurchaseDays(days.row[is_kept], days.column[is_kept], days.age[is_kept])
        friends = None if self.friends is None else csr_matrix(self.friends[:, :items])
        return type(self)(days, self.texts and self.texts[:items], self.segments, friends)


NO_SIDE_INFORMATION = SideInformation()


class Model(ABC):
    """Score items from a matrix of preferences.

    The matrix is (customers × items) and non-negative. A score of 0 means that the model knows
    nothing about the customer and the item.
    """

    name: str
    uses: ClassVar[tuple[str, ...]] = ()
    """Names of the fields of `SideInformation` that the model uses."""
    stored: ClassVar[Mapping[str, str]] = {}
    """Name in the artefact → attribute of each fitted parameter."""

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: SideInformation = NO_SIDE_INFORMATION,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit the model.

        Results of an earlier fit are discarded.

        `matrix`: (customers × items); see `clean_matrix`.
        `side`: only the fields in ``uses`` are read.
        `progress`: may raise `Cancelled`.
        """
        self._fit(clean_matrix(matrix), side, seed, progress)
        return self

    @abstractmethod
    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        """Fit to a validated matrix; see `fit`."""

    def scores(
        self, histories: csr_matrix, *, side: SideInformation = NO_SIDE_INFORMATION
    ) -> np.ndarray:
        """Score all items for each history.

        Returns: (histories × items), float32; higher is better. Items in the history are scored
        like others.
        """
        return self._scores(histories, side)

    @abstractmethod
    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Score all items; see `scores`."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted parameters as plain arrays."""
        return {
            name: np.asarray(getattr(self, attribute)) for name, attribute in self.stored.items()
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        model = cls()
        for name, attribute in cls.stored.items():
            setattr(model, attribute, arrays[name] if arrays[name].ndim else arrays[name].item())
        return model


class Collaborative(Model):
    """Score items as sums over history entries.

    This allows reasons such as "because they bought X".
    """

    @abstractmethod
    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Split one history's scores by its entries.

        `history`: (1 × items).
        Returns: (items × entries of the history). Their sum is the score, up to the item's bias,
        which is the same for all customers. The reason "because they bought X" is the largest
        column.
        """


def clean_matrix(matrix: csr_matrix) -> csr_matrix:
    """Validate a matrix and return it as CSR.

    The result is float32, without stored zeros.

    Raises `ValueError`: the matrix has negative, missing or infinite preferences. `implicit`
    accepts them and returns wrong scores.
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


def buyer_counts(matrix: csr_matrix) -> np.ndarray:
    """Count the customers of each item, (items,)."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])
