"""Off-policy estimates: worked by hand, and unbiased in simulation where the plain mean of the log is not."""

import numpy as np
import pytest

from retention.recommend.bandit.offpolicy import doubly_robust, effective, ips, plain, snips

REWARD = np.array([1.0, 0.0, 1.0, 0.0])
TAKEN = np.array([0, 1, 1, 0])
LOGGED = np.array([0.5, 0.5, 0.25, 0.8])
TARGET = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
OWN = TARGET[np.arange(4), TAKEN]  # 1, 0, 0.5, 0.2: weights 2, 0, 2, 0.25
PREDICTED = np.array([[0.6, 0.2], [0.4, 0.2], [0.5, 0.7], [0.1, 0.3]])


def test_worked_by_hand():
    assert plain(REWARD).value == 0.5
    assert ips(REWARD, LOGGED, OWN).value == pytest.approx((2 + 0 + 2 + 0) / 4)
    assert snips(REWARD, LOGGED, OWN).value == pytest.approx(4 / 4.25)
    # direct 0.6, 0.4, 0.6, 0.26; corrections 2·(1−0.6), 0, 2·(1−0.7), 0.25·(0−0.1)
    assert doubly_robust(REWARD, TAKEN, LOGGED, TARGET, PREDICTED).value == pytest.approx(
        (0.6 + 0.8 + 0.4 + 0.6 + 0.6 + 0.26 - 0.025) / 4
    )
    assert effective(LOGGED, OWN) == pytest.approx(4.25**2 / (4 + 4 + 0.0625))


def test_intervals_worked_by_hand():
    found = ips(REWARD, LOGGED, OWN)  # 2, 0, 2, 0: standard error of the mean 1.1547 / 2
    assert (found.low, found.high) == pytest.approx(
        (1 - 1.96 * 0.57735, 1 + 1.96 * 0.57735), abs=1e-4
    )
    value = 4 / 4.25
    error = np.sqrt(4 * (1 - value) ** 2 * 2 + 0.0625 * value**2) / 4.25
    assert snips(REWARD, LOGGED, OWN).high == pytest.approx(value + 1.96 * error)


def test_the_logging_policy_judged_by_itself_is_its_plain_mean():
    assert ips(REWARD, LOGGED, LOGGED) == plain(REWARD)
    assert snips(REWARD, LOGGED, LOGGED).value == plain(REWARD).value
    assert effective(LOGGED, LOGGED) == 4


@pytest.mark.parametrize("chance", [0.0, -0.1, 1.1])
def test_an_action_without_a_chance_is_refused(chance):
    with pytest.raises(ValueError, match="logged chance"):
        ips(REWARD, np.array([0.5, 0.5, 0.5, chance]), OWN)


def test_simulation_unbiased_whatever_one_of_both_gets_wrong():
    """1,500 logs of 300 decisions. The logging policy takes the bad arm mostly; the one in question the good one."""
    rng = np.random.default_rng(5)
    chances, wanted = np.array([0.8, 0.2]), np.array([0.1, 0.9])
    found: dict[str, list[float]] = {
        name: [] for name in ("plain", "ips", "snips", "dr", "dr wrong", "covered")
    }
    truth_each = []
    for _ in range(1500):
        x = rng.random(300)
        means = np.column_stack([0.1 + 0.1 * x, 0.2 + 0.5 * x])
        taken = (rng.random(300) < chances[1]).astype(int)
        reward = (rng.random(300) < means[np.arange(300), taken]).astype(float)
        logged, target = chances[taken], np.broadcast_to(wanted, (300, 2))
        truth_each.append((means @ wanted).mean())
        found["plain"].append(plain(reward).value)
        found["ips"].append(ips(reward, logged, wanted[taken]).value)
        found["snips"].append(snips(reward, logged, wanted[taken]).value)
        found["dr"].append(doubly_robust(reward, taken, logged, target, means).value)
        found["dr wrong"].append(
            doubly_robust(reward, taken, logged, target, np.full((300, 2), 0.9)).value
        )
        one = ips(reward, logged, wanted[taken])
        found["covered"].append(one.low <= 0.42 <= one.high)
    truth = 0.1 * 0.15 + 0.9 * 0.45
    assert np.mean(truth_each) == pytest.approx(truth, abs=0.005)
    for name in ("ips", "snips", "dr", "dr wrong"):
        error = np.std(found[name]) / np.sqrt(1500)
        assert np.mean(found[name]) == pytest.approx(
            truth, abs=4 * error + (0.005 if name == "snips" else 0)
        )
    assert abs(np.mean(found["plain"]) - truth) > 0.1
    assert np.std(found["dr"]) < np.std(found["ips"])
    assert np.mean(found["covered"]) > 0.92
