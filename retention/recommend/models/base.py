"""Define the interface of all recommendation models.

A model learns items from customers' histories and scores any history, including histories that
it was not trained on. No customer is stored under an id, and new customers are scored like all
others. Most models need only the interaction matrix; some also use `SideInformation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class PurchaseDays:
    """Hold days of purchase, sorted by row.

    There is one line per (row, column, day).

    Parameters
    ----------
    row, column : ndarray of int
        Positions in the interaction matrix.
    age : ndarray of float
        Days from the purchase to the reference time; never negative.
    """

    row: np.ndarray
    column: np.ndarray
    age: np.ndarray

    def select(self, rows: np.ndarray) -> Self:
        """Select rows and renumber them 0, 1, 2 …"""
        begin, end = np.searchsorted(self.row, rows), np.searchsorted(self.row, rows, side="right")
        count = end - begin
        lines = np.repeat(end - np.cumsum(count), count) + np.arange(int(count.sum()))
        return type(self)(
            np.repeat(np.arange(len(rows)), count), self.column[lines], self.age[lines]
        )


@dataclass(frozen=True, slots=True)
class Segments:
    """Assign rows to segments.

    Examples are a channel, a region or a kind of first basket.

    Parameters
    ----------
    labels : ndarray of str
        Names of the segments.
    member : csr_matrix
        Ones in (rows × labels).
    """

    labels: np.ndarray
    member: csr_matrix


@dataclass(frozen=True, slots=True)
class SideInformation:
    """Hold information besides the interaction matrix.

    Missing parts are None.

    Parameters
    ----------
    days : PurchaseDays, optional
        Dates of the purchases.
    texts : sequence of str, optional
        Title and attributes of each item (column).
    segments : Segments, optional
    friends : csr_matrix, optional
        (rows × items): summed preferences of the people that a customer follows, referred or was
        referred by.
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
            days = PurchaseDays(
                *(line[days.column < items] for line in (days.row, days.column, days.age))
            )
        friends = None if self.friends is None else csr_matrix(self.friends[:, :items])
        return type(self)(days, self.texts and self.texts[:items], self.segments, friends)


NO_SIDE_INFORMATION = SideInformation()


@runtime_checkable
class Model(Protocol):
    """Score items from a matrix of preferences.

    The matrix is (customers × items) and non-negative. A score of 0 means that the model knows
    nothing about the customer and the item.
    """

    name: str
    uses: ClassVar[tuple[str, ...]]
    """Names of the fields of `SideInformation` that the model uses."""

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

        Parameters
        ----------
        matrix : csr_matrix
            (customers × items), validated by `clean_matrix`.
        side : SideInformation
            Only the fields in ``uses`` are read.
        seed : int
        progress : Progress
            May raise `Cancelled`.

        Returns
        -------
        Self
        """
        ...

    def scores(
        self, histories: csr_matrix, *, side: SideInformation = NO_SIDE_INFORMATION
    ) -> np.ndarray:
        """Score all items for each history.

        Parameters
        ----------
        histories : csr_matrix
            (histories × items).
        side : SideInformation
            Of the same rows.

        Returns
        -------
        ndarray
            (histories × items), float32; higher is better. Items in the history are scored like
            others.
        """
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted parameters as plain arrays."""
        ...

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        ...


@runtime_checkable
class Collaborative(Model, Protocol):
    """Score items as sums over history entries.

    This allows reasons such as "because they bought X".
    """

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Split one history's scores by its entries.

        Parameters
        ----------
        history : csr_matrix
            (1 × items).
        items : ndarray of int
            Columns to explain.

        Returns
        -------
        ndarray
            (items × entries of the history). Their sum is the score, up to the item's bias, which
            is the same for all customers. The reason "because they bought X" is the largest column.
        """
        ...


def clean_matrix(matrix: csr_matrix) -> csr_matrix:
    """Validate a matrix and return it as CSR.

    The result is float32, without stored zeros.

    Raises
    ------
    ValueError
        The matrix has negative, missing or infinite preferences. `implicit` accepts them and
        returns wrong scores.
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
