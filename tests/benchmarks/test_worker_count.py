"""Test the queue simulation."""

import pytest

from tests.benchmarks.worker_count import MOST_WAIT, waits, workers_needed


def test_jobs_wait_for_the_first_free_worker_in_their_order():
    assert waits([0, 1, 2, 3], [5, 1, 1, 1], workers=1) == [0, 4, 4, 4]
    assert waits([0, 1, 2, 3], [5, 1, 1, 1], workers=2) == [0, 0, 0, 0]


def test_random_arrivals_wait_as_the_formula_of_one_worker_says():
    """Pollaczek and Khinchine: half the work's second moment over what is free of the worker."""
    import random

    rng, rate, moment, arrivals = random.Random(3), 0.7, 0.0, []
    for _ in range(200_000):
        moment += rng.expovariate(rate)
        arrivals.append(moment)
    mean = sum(waits(arrivals, [1.0] * len(arrivals), workers=1)) / len(arrivals)
    assert mean == pytest.approx(rate / (2 * (1 - rate)), rel=0.05)


def test_workers_suffice_for_the_wait_and_one_fewer_would_not():
    assert MOST_WAIT == 5
    assert workers_needed(0.1, [2.0]) == 1
    assert workers_needed(10, [2.0]) in (20, 21)  # twenty are busy all the time
