"""Tests of the hidden Markov model on simulated customers."""

import numpy as np
import pytest

from retention.value import hidden_markov


@pytest.fixture(scope="module")
def world():
    """Simulate two rarely changing order frequencies: (n, 30) counts and the next four periods."""
    rng = np.random.default_rng(3)
    moves, some = np.array([[0.9, 0.1], [0.05, 0.95]]), np.array([0.05, 0.8])
    state = (rng.random(3000) < 0.5).astype(int)
    counts = np.zeros((3000, 34), dtype=int)
    for period in range(34):
        counts[:, period] = rng.random(3000) < some[state]
        state = np.where(rng.random(3000) < moves[state, 1], 1, 0)
    begun = rng.integers(0, 20, 3000)
    counts[np.arange(34) < begun[:, None]] = 0
    return counts[:, :30], begun, counts[:, 30:]


def test_forecasts_of_next_periods_are_calibrated(world):
    counts, begun, then = world
    fitted = hidden_markov.fit(counts, begun)
    now = fitted.now(counts, begun)
    silent, away = fitted.no_purchase(now, 4), ~then.any(axis=1)
    for tenth in np.array_split(np.argsort(silent), 5):
        assert silent[tenth].mean() == pytest.approx(away[tenth].mean(), abs=0.05)
    assert fitted.active(now).mean() == pytest.approx(then[:, 0].mean(), abs=0.03)
    assert fitted.active(now, 3).mean() == pytest.approx(then[:, 3].mean(), abs=0.03)


def test_filter_follows_bayes_rule():
    """Compare two periods with a calculation by hand."""
    start, moves = np.array([0.6, 0.4]), np.array([[0.7, 0.3], [0.2, 0.8]])
    days = np.array([[0.9, 0.1, 0.0, 0.0], [0.3, 0.4, 0.2, 0.1]])
    model = hidden_markov.BuyingStates(start, moves, days)
    second = ((start * days[:, 1]) @ moves) * days[:, 0]
    old, new = model.now(np.array([[1, 0], [0, 2]]), np.array([0, 1]))
    np.testing.assert_allclose(old, second / second.sum())
    np.testing.assert_allclose(new, [0, 1], atol=1e-12)  # only the second state has two days
    ahead = old @ moves * days[:, 0]
    assert model.no_purchase(old[None], 1)[0] == pytest.approx(ahead.sum())
    assert model.no_purchase(old[None], 2)[0] == pytest.approx(((ahead @ moves) * days[:, 0]).sum())
    assert model.active(old[None])[0] == pytest.approx(old @ [0.1, 0.7])


def test_each_em_step_raises_the_likelihood(world):
    counts, begun, _ = world
    _, sorted_counts, seen = hidden_markov._by_age(counts, begun)
    observed = list(hidden_markov._indicators(sorted_counts, seen, np.float32))
    model, likely = hidden_markov._initial_model(), []
    for _ in range(6):
        likely.append(_log_likelihood(model, sorted_counts, seen))
        model = hidden_markov._em_step(model, observed)
    assert np.all(np.diff(likely) > 0)


def _log_likelihood(model, counts, seen):
    """Sum the log-likelihood over customers, period by period."""
    state, total = np.empty((0, len(model.start))), 0.0
    for period_counts, customers in zip(counts.T, seen, strict=True):
        fresh = np.tile(model.start, (customers - len(state), 1))
        joint = (
            np.concatenate([state @ model.moves, fresh]) * model.days.T[period_counts[:customers]]
        )
        total += np.log(joint.sum(axis=1)).sum()
        state = joint / joint.sum(axis=1, keepdims=True)
    return total


def test_pausing_customers_are_likelier_to_return_than_fading_ones(world):
    """Both have the same orders and the same silence at the end."""
    counts, begun, _ = world
    fitted = hidden_markov.fit(counts, begun)
    pauses = [1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0]
    lasting = [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    now = fitted.now(np.array([pauses, lasting]), np.zeros(2, dtype=int))
    first, second = fitted.no_purchase(now, 4)
    assert first < second


def test_handles_no_customers_and_one_period():
    nothing = np.zeros((0, 1), dtype=int), np.zeros(0, dtype=int)
    nobody = hidden_markov.fit(*nothing)
    assert nobody.now(*nothing).shape == (0, len(nobody.start))
    new = hidden_markov.fit(np.array([[1], [2], [1]]), np.zeros(3, dtype=int))
    assert 0 < new.no_purchase(new.now(np.array([[1]]), np.zeros(1, dtype=int)), 4)[0] < 1
