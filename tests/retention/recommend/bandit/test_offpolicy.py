"""Test off-policy estimates by hand-worked examples and by simulation."""

import numpy as np
import pytest

from retention.recommend.bandit.offpolicy import (
    doubly_robust,
    effective_sample_size,
    ips,
    mean_reward,
    snips,
)

REWARD = np.array([1.0, 0.0, 1.0, 0.0])
TAKEN = np.array([0, 1, 1, 0])
LOGGED = np.array([0.5, 0.5, 0.25, 0.8])
TARGET = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
OWN = TARGET[np.arange(4), TAKEN]  # 1, 0, 0.5, 0.2: weights 2, 0, 2, 0.25
PREDICTED = np.array([[0.6, 0.2], [0.4, 0.2], [0.5, 0.7], [0.1, 0.3]])


def test_estimates_match_hand_worked_values():
    assert mean_reward(REWARD).value == 0.5
    assert ips(REWARD, LOGGED, OWN).value == pytest.approx((2 + 0 + 2 + 0) / 4)
    assert snips(REWARD, LOGGED, OWN).value == pytest.approx(4 / 4.25)
    # direct 0.6, 0.4, 0.6, 0.26; corrections 2·(1−0.6), 0, 2·(1−0.7), 0.25·(0−0.1)
    assert doubly_robust(REWARD, TAKEN, LOGGED, TARGET, PREDICTED).value == pytest.approx(
        (0.6 + 0.8 + 0.4 + 0.6 + 0.6 + 0.26 - 0.025) / 4
    )
    assert effective_sample_size(LOGGED, OWN) == pytest.approx(4.25**2 / (4 + 4 + 0.0625))


def test_intervals_match_hand_worked_values():
    estimate = ips(REWARD, LOGGED, OWN)  # 2, 0, 2, 0: standard error of the mean 1.1547 / 2
    half = 1.96 * 0.57735
    assert (estimate.low, estimate.high) == pytest.approx((1 - half, 1 + half), abs=1e-4)
    value = 4 / 4.25
    error = np.sqrt(4 * (1 - value) ** 2 * 2 + 0.0625 * value**2) / 4.25
    assert snips(REWARD, LOGGED, OWN).high == pytest.approx(value + 1.96 * error)


def test_logging_policy_estimates_its_own_mean_reward():
    assert ips(REWARD, LOGGED, LOGGED) == mean_reward(REWARD)
    assert snips(REWARD, LOGGED, LOGGED).value == mean_reward(REWARD).value
    assert effective_sample_size(LOGGED, LOGGED) == 4


@pytest.mark.parametrize("chance", [0.0, -0.1, 1.1])
def test_rejects_logged_chance_outside_zero_to_one(chance):
    with pytest.raises(ValueError, match="logged chance"):
        ips(REWARD, np.array([0.5, 0.5, 0.5, chance]), OWN)


def test_estimates_are_unbiased_with_either_part_wrong():
    """Simulate 1,500 logs of 300 decisions.

    The logging policy mostly takes the bad arm, the target policy the good one.
    """
    rng = np.random.default_rng(5)
    chances, target_chances = np.array([0.8, 0.2]), np.array([0.1, 0.9])
    rows: list[dict[str, float]] = []
    for _ in range(1500):
        x = rng.random(300)
        means = np.column_stack([0.1 + 0.1 * x, 0.2 + 0.5 * x])
        taken = (rng.random(300) < chances[1]).astype(int)
        reward = (rng.random(300) < means[np.arange(300), taken]).astype(float)
        logged, target = chances[taken], np.broadcast_to(target_chances, (300, 2))
        own, wrong = target_chances[taken], np.full((300, 2), 0.9)
        estimate = ips(reward, logged, own)
        figures = {
            "truth": (means @ target_chances).mean(),
            "mean": mean_reward(reward).value,
            "ips": estimate.value,
            "snips": snips(reward, logged, own).value,
            "dr": doubly_robust(reward, taken, logged, target, means).value,
            "dr wrong": doubly_robust(reward, taken, logged, target, wrong).value,
            "covered": estimate.low <= 0.42 <= estimate.high,
        }
        rows.append(figures)
    estimates = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    truth = 0.1 * 0.15 + 0.9 * 0.45
    assert estimates["truth"].mean() == pytest.approx(truth, abs=0.005)
    for name, bias in {"ips": 0, "snips": 0.005, "dr": 0, "dr wrong": 0}.items():
        error = estimates[name].std() / np.sqrt(1500)
        assert estimates[name].mean() == pytest.approx(truth, abs=4 * error + bias)
    assert abs(estimates["mean"].mean() - truth) > 0.1
    assert estimates["dr"].std() < estimates["ips"].std()
    assert estimates["covered"].mean() > 0.92
