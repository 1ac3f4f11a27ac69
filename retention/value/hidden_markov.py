"""Hidden Markov model of customers' buying states.

Customers move between hidden states, each with its own order frequency, and may return to an
earlier one. The observations are the numbers of days with an order per period. Unlike BG/NBD, the
model covers pauses and gradual decline, and it uses the whole sequence instead of frequency and
recency alone.

References
----------
Netzer, Lattin, Srinivasan (2008), A Hidden Markov Model of Customer Relationship Dynamics,
Marketing Science 27.

Baum, Petrie, Soules, Weiss (1970), A Maximization Technique, Annals of Mathematical Statistics 41
(the fit).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

STATES, ROUNDS = 16, 40
MAX_DAYS = 3  # order days per period; the last count means this many or more
SAMPLE = 2500  # customers to fit the parameters
_STAY_PROBABILITY = 0.9  # initial
# pseudo-counts: of staying in a state, of each transition, of each number of order days
_STAY_COUNT, _MOVE_COUNT, _DAYS_COUNT = 5.0, 0.02, 0.1


@dataclass(frozen=True, slots=True)
class BuyingStates:
    """A fitted model with S states.

    `start`: (S,) state probabilities in a customer's first period.
    `moves`: (S, S) transition probabilities from one period to the next.
    `days`: (S, MAX_DAYS + 1) probabilities of 0, 1, … order days in each state.
    """

    start: np.ndarray
    moves: np.ndarray
    days: np.ndarray

    def now(self, counts: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Return P(state) in the newest period, (n, S).

        `counts`, `begun`: see `fit`.
        """
        order, counts, begun_by = _by_age(counts, begun)
        probabilities = np.empty((len(counts), len(self.start)))
        for state in self._filter(_indicators(counts, begun_by, np.float64)):
            newest = state.T
        probabilities[order] = newest
        return probabilities

    def no_purchase(self, now: np.ndarray, periods: int) -> np.ndarray:
        """Return P(no order in the next ``periods`` periods), (n,).

        `now`: (n, S) state probabilities.
        """
        return now @ np.linalg.matrix_power(self.moves * self.days[:, 0], periods).sum(axis=1)

    def active(self, now: np.ndarray, periods: int = 0) -> np.ndarray:
        """Return P(an order in a period), (n,).

        `now`: (n, S) state probabilities.
        `periods`: 0 is the newest period, 1 the next one.
        """
        return now @ np.linalg.matrix_power(self.moves, periods) @ (1 - self.days[:, 0])

    def _filter(self, observed: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield P(state) after each period, (S, customers), oldest period first.

        Columns are the customers with a first order by then, oldest customers first. A customer's
        first period always has an order; only its number of days is informative.

        `observed`: see `_indicators`; the results have its type.
        """
        state = None
        for indicator in observed:
            start, moves, days = (
                values.T.astype(indicator.dtype) for values in (self.start, self.moves, self.days.T)
            )
            reached = np.empty((len(start), indicator.shape[1]), dtype=indicator.dtype)
            known = 0 if state is None else state.shape[1]
            if state is not None:
                np.matmul(moves, state, out=reached[:, :known])
            reached[:, known:] = start[:, None]
            reached *= days @ indicator
            reached /= _column_sums(reached)
            state = reached
            yield state


def fit(counts: np.ndarray, begun: np.ndarray) -> BuyingStates:
    """Fit by expectation maximisation.

    The initial order frequencies are evenly spread and nothing is random, so results are
    reproducible.

    `counts`: (n, P) integers: days with an order in each period, oldest first.
    `begun`: (n,) index of each customer's first period; 0 also if it lies before the oldest period.
    """
    step = len(counts) // SAMPLE + 1
    _, counts, begun_by = _by_age(counts[::step], begun[::step])
    observed = list(_indicators(counts, begun_by, np.float32))
    model = _initial_model()
    with threadpool_limits(1):  # BLAS threads slow down such small matrices
        for _ in range(ROUNDS if len(counts) else 0):
            model = _em_step(model, observed)
    return model


def _indicators(
    counts: np.ndarray, begun_by: np.ndarray, dtype: type[np.floating[Any]]
) -> Iterator[np.ndarray]:
    """Yield the observations of each period, (MAX_DAYS + 1, customers): 1 for the days counted."""
    some = np.arange(MAX_DAYS + 1)[:, None]
    for period_counts, customers in zip(counts.T, begun_by, strict=True):
        yield (some == period_counts[:customers]).astype(dtype)


def _by_age(counts: np.ndarray, begun: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the customer order by age, the sorted counts, and customers per period."""
    order = np.argsort(begun, kind="stable")
    begun_by = np.searchsorted(begun[order], np.arange(counts.shape[1]), side="right")
    return order, np.minimum(counts[order], MAX_DAYS), begun_by


def _initial_model() -> BuyingStates:
    """Return a model with Poisson frequencies from rare to daily.

    Transitions to neighbouring states are more likely.
    """
    rate = np.concatenate([[0.02], np.geomspace(0.1, 3.5, STATES - 1)])[:, None]
    some = np.arange(MAX_DAYS)
    days = np.exp(-rate) * rate**some / np.cumprod(np.maximum(some, 1))
    days = np.column_stack([days, 1 - days.sum(axis=1)])
    near = np.exp(-np.abs(np.subtract.outer(np.arange(STATES), np.arange(STATES))).astype(float))
    np.fill_diagonal(near, 0)
    moves = (1 - _STAY_PROBABILITY) * near / near.sum(axis=1, keepdims=True)
    moves = moves + _STAY_PROBABILITY * np.eye(STATES)
    return BuyingStates(np.full(STATES, 1 / STATES), moves, days)


def _em_step(model: BuyingStates, observed: Sequence[np.ndarray]) -> BuyingStates:
    """Run one round of expectation maximisation.

    `observed`: see `_indicators`. Customers are columns, so all operations run along many numbers.
    In float32 they take half the time; its rounding is far below what one more round changes.
    """
    forward = list(model._filter(observed))
    moves, days = model.moves.astype(np.float32), model.days.astype(np.float32)
    transitions = np.full((STATES, STATES), _MOVE_COUNT) + _STAY_COUNT * np.eye(STATES)
    emitted = np.full((STATES, MAX_DAYS + 1), _DAYS_COUNT)
    start = np.ones(STATES)
    # likelihood of the later periods given each state, up to a factor per customer
    ahead = np.ones_like(forward[-1])
    for period in range(len(observed) - 1, -1, -1):
        customers = observed[period].shape[1]
        earlier = observed[period - 1].shape[1] if period else 0
        state = forward[period] * ahead[:, :customers]
        state /= _column_sums(state)
        emitted += state @ observed[period].T
        start += state[:, earlier:].sum(axis=1)
        if not earlier:
            break
        before = forward[period - 1]
        then = days @ observed[period][:, :earlier]
        then *= ahead[:, :earlier]
        then /= _column_sums((moves.T @ before) * then)
        transitions += moves * (before @ then.T)
        ahead = moves @ then
    return BuyingStates(
        start / start.sum(),
        transitions / transitions.sum(axis=1, keepdims=True),
        emitted / emitted.sum(axis=1, keepdims=True),
    )


def _column_sums(columns: np.ndarray) -> np.ndarray:
    """Return the sum of each column, as a matrix product, which is faster than ``sum``."""
    sums: np.ndarray = np.ones(len(columns), dtype=columns.dtype) @ columns
    return sums
