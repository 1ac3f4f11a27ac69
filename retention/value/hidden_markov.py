"""Buying states: customers move between hidden states, each with its own frequency of orders, and may come back.

A hidden Markov model of how many days with an order each period had (Netzer, Lattin, Srinivasan 2008, A Hidden Markov
Model of Customer Relationship Dynamics, Marketing Science 27; Baum, Petrie, Soules, Weiss 1970 for the fit). What BG/NBD
cannot say, a pause and a slow fading, is a state here; and what a customer did in each period counts, not only how often
and how lately.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

STATES, ROUNDS = 16, 40
MOST_DAYS = 3  # of a period that are told apart: as many or more
SAMPLE = 2500  # customers; so many are enough for the parameters
_STAYS = 0.9
_STAY, _MOVE, _SAID = (
    5.0,
    0.02,
    0.1,
)  # pseudo-counts: of staying, of each move, of each number of days


@dataclass(frozen=True, slots=True)
class BuyingStates:
    """A fitted model of S states.

    Parameters
    ----------
    start : numpy.ndarray
        (S,) where customers are in their first period.
    moves : numpy.ndarray
        (S, S) from each state to each, from one period to the next.
    days : numpy.ndarray
        (S, MOST_DAYS + 1) how likely 0, 1, … order days are in each state.
    """

    start: np.ndarray
    moves: np.ndarray
    days: np.ndarray

    def now(self, counts: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """(n, S) P(state) in the newest period; see `fit`."""
        order, counts, seen = _by_age(counts, begun)
        found = np.empty((len(counts), len(self.start)))
        for state in self._walk(counts, seen):
            newest = state
        found[order] = newest
        return found

    def no_purchase(self, now: np.ndarray, periods: int) -> np.ndarray:
        """(n,) P(no order in so many periods to come)."""
        return now @ np.linalg.matrix_power(self.moves * self.days[:, 0], periods).sum(axis=1)

    def active(self, now: np.ndarray, periods: int = 0) -> np.ndarray:
        """(n,) P(an order in a period): in the newest, or so many periods later."""
        return now @ np.linalg.matrix_power(self.moves, periods) @ (1 - self.days[:, 0])

    def _walk(self, counts: np.ndarray, seen: np.ndarray) -> Iterator[np.ndarray]:
        """P(state) after each period of those who had begun, oldest period first, oldest customers first.

        A customer's first period has an order because it is the first; whether it has one day or several tells all the same.
        """
        state = np.empty((0, len(self.start)))
        for told, known in zip(counts.T, seen, strict=True):
            fresh = np.broadcast_to(self.start, (known - len(state), len(self.start)))
            state = np.concatenate([state @ self.moves, fresh]) * self.days.T.take(
                told[:known], axis=0
            )
            state /= _total(state)
            yield state


def fit(counts: np.ndarray, begun: np.ndarray) -> BuyingStates:
    """Expectation maximisation from states whose frequencies are evenly spread; nothing is drawn, so it is repeatable.

    Parameters
    ----------
    counts : numpy.ndarray
        (n, P) integers: days with an order in each period, oldest first.
    begun : numpy.ndarray
        (n,) place of each customer's first period; 0 also where it lies before the oldest one.
    """
    step = len(counts) // SAMPLE + 1
    _, counts, seen = _by_age(counts[::step], begun[::step])
    model = _first()
    with threadpool_limits(1):  # BLAS threads for so small tables only wait for each other
        for _ in range(ROUNDS if len(counts) else 0):
            model = _better(model, counts, seen)
    return model


def _by_age(counts: np.ndarray, begun: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of the customers, oldest first; their counts in it; and how many had begun by each period."""
    order = np.argsort(begun, kind="stable")
    seen = np.searchsorted(begun[order], np.arange(counts.shape[1]), side="right")
    return order, np.minimum(counts[order], MOST_DAYS), seen


def _first() -> BuyingStates:
    """Poisson frequencies from hardly ever to daily; neighbouring states are likelier to follow each other."""
    rate = np.concatenate([[0.02], np.geomspace(0.1, 3.5, STATES - 1)])[:, None]
    some = np.arange(MOST_DAYS)
    days = np.exp(-rate) * rate**some / np.cumprod(np.maximum(some, 1))
    days = np.column_stack([days, 1 - days.sum(axis=1)])
    near = np.exp(-np.abs(np.subtract.outer(np.arange(STATES), np.arange(STATES))).astype(float))
    np.fill_diagonal(near, 0)
    moves = (1 - _STAYS) * near / near.sum(axis=1, keepdims=True) + _STAYS * np.eye(STATES)
    return BuyingStates(np.full(STATES, 1 / STATES), moves, days)


def _better(model: BuyingStates, counts: np.ndarray, seen: np.ndarray) -> BuyingStates:
    """One round: what the states were, given everything, and the parameters that then are likeliest."""
    forward = list(model._walk(counts, seen))
    moved = np.full((STATES, STATES), _MOVE) + _STAY * np.eye(STATES)
    said = np.full((MOST_DAYS + 1, STATES), _SAID)
    start, one = np.ones(STATES), np.eye(MOST_DAYS + 1)
    ahead = np.ones_like(
        forward[-1]
    )  # how likely the later periods are from each state, up to a factor a customer
    for period in range(len(seen) - 1, -1, -1):
        known, earlier = seen[period], seen[period - 1] if period else 0
        state = forward[period] * ahead[:known]
        state /= _total(state)
        said += one.take(counts[:known, period], axis=0).T @ state
        start += state[earlier:].sum(axis=0)
        if not earlier:
            break
        before = forward[period - 1]
        then = model.days.T.take(counts[:earlier, period], axis=0) * ahead[:earlier]
        then /= _total((before @ model.moves) * then)
        moved += model.moves * (before.T @ then)
        ahead = then @ model.moves.T
    return BuyingStates(
        start / start.sum(), moved / moved.sum(axis=1, keepdims=True), (said / said.sum(axis=0)).T
    )


def _total(rows: np.ndarray) -> np.ndarray:
    """The sum of each row, as a column; for short rows numpy's own takes seven times as long."""
    return rows @ np.ones((rows.shape[1], 1))
