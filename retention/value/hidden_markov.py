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

from collections.abc import Iterator
from dataclasses import dataclass

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

    Parameters
    ----------
    start : numpy.ndarray
        (S,) state probabilities in a customer's first period.
    moves : numpy.ndarray
        (S, S) transition probabilities from one period to the next.
    days : numpy.ndarray
        (S, MAX_DAYS + 1) probabilities of 0, 1, … order days in each state.
    """

    start: np.ndarray
    moves: np.ndarray
    days: np.ndarray

    def now(self, counts: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Return P(state) in the newest period, (n, S).

        Parameters
        ----------
        counts, begun : numpy.ndarray
            See `fit`.
        """
        order, counts, begun_by = _by_age(counts, begun)
        probabilities = np.empty((len(counts), len(self.start)))
        for state in self._filter(counts, begun_by):
            newest = state
        probabilities[order] = newest
        return probabilities

    def no_purchase(self, now: np.ndarray, periods: int) -> np.ndarray:
        """Return P(no order in the next ``periods`` periods), (n,).

        Parameters
        ----------
        now : numpy.ndarray
            (n, S) state probabilities.
        periods : int
        """
        return now @ np.linalg.matrix_power(self.moves * self.days[:, 0], periods).sum(axis=1)

    def active(self, now: np.ndarray, periods: int = 0) -> np.ndarray:
        """Return P(an order in a period), (n,).

        Parameters
        ----------
        now : numpy.ndarray
            (n, S) state probabilities.
        periods : int
            0 is the newest period, 1 the next one.
        """
        return now @ np.linalg.matrix_power(self.moves, periods) @ (1 - self.days[:, 0])

    def _filter(self, counts: np.ndarray, begun_by: np.ndarray) -> Iterator[np.ndarray]:
        """Yield P(state) after each period, oldest period first.

        Rows are the customers with a first order by then, oldest customers first. A customer's
        first period always has an order; only its number of days is informative.
        """
        state = np.empty((0, len(self.start)))
        for period_counts, customers in zip(counts.T, begun_by, strict=True):
            fresh = np.broadcast_to(self.start, (customers - len(state), len(self.start)))
            state = np.concatenate([state @ self.moves, fresh]) * self.days.T.take(
                period_counts[:customers], axis=0
            )
            state /= _row_sums(state)
            yield state


def fit(counts: np.ndarray, begun: np.ndarray) -> BuyingStates:
    """Fit by expectation maximisation.

    The initial order frequencies are evenly spread and nothing is random, so results are
    reproducible.

    Parameters
    ----------
    counts : numpy.ndarray
        (n, P) integers: days with an order in each period, oldest first.
    begun : numpy.ndarray
        (n,) index of each customer's first period; 0 also if it lies before the oldest period.
    """
    step = len(counts) // SAMPLE + 1
    _, counts, begun_by = _by_age(counts[::step], begun[::step])
    model = _initial_model()
    with threadpool_limits(1):  # BLAS threads slow down such small matrices
        for _ in range(ROUNDS if len(counts) else 0):
            model = _em_step(model, counts, begun_by)
    return model


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


def _em_step(model: BuyingStates, counts: np.ndarray, begun_by: np.ndarray) -> BuyingStates:
    """Run one round of expectation maximisation."""
    forward = list(model._filter(counts, begun_by))
    transitions = np.full((STATES, STATES), _MOVE_COUNT) + _STAY_COUNT * np.eye(STATES)
    emitted = np.full((MAX_DAYS + 1, STATES), _DAYS_COUNT)
    start, indicator = np.ones(STATES), np.eye(MAX_DAYS + 1)
    # likelihood of the later periods given each state, up to a factor per customer
    ahead = np.ones_like(forward[-1])
    for period in range(len(begun_by) - 1, -1, -1):
        customers, earlier = begun_by[period], begun_by[period - 1] if period else 0
        state = forward[period] * ahead[:customers]
        state /= _row_sums(state)
        emitted += indicator.take(counts[:customers, period], axis=0).T @ state
        start += state[earlier:].sum(axis=0)
        if not earlier:
            break
        before = forward[period - 1]
        then = model.days.T.take(counts[:earlier, period], axis=0) * ahead[:earlier]
        then /= _row_sums((before @ model.moves) * then)
        transitions += model.moves * (before.T @ then)
        ahead = then @ model.moves.T
    return BuyingStates(
        start / start.sum(),
        transitions / transitions.sum(axis=1, keepdims=True),
        (emitted / emitted.sum(axis=0)).T,
    )


def _row_sums(rows: np.ndarray) -> np.ndarray:
    """Return the sum of each row as a column.

    For short rows this is seven times as fast as ``rows.sum(axis=1)``.
    """
    return rows @ np.ones((rows.shape[1], 1))
