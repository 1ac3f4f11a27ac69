"""Test what is learned from tests of offers."""

from dataclasses import replace

import numpy as np
import pytest

from retention.campaigns.learning.chances import best_chances, combine
from retention.campaigns.learning.offer_rule import (
    OfferLog,
    estimate_value,
    learn_rule,
    predict_profit,
    shrink,
)
from tests.retention.campaigns.learning.made_up_shops import (
    Shop,
    made_up_shop,
    made_up_test,
    run_shop,
)


def differing_shop(customers=6_000):
    """A shop where B moves one group and A the other; C moves nobody."""
    return Shop(1, customers, np.array([[0, 0.25, 0.0, 0.0], [0, 0.0, 0.35, 0.0]]), True)


def test_learned_rule_gives_each_group_its_better_offer():
    shop = differing_shop()
    test = made_up_test(shop, 0)
    learned = learn_rule(test.log)
    assert learned.chosen == {"Rule 0": 1, "Rule 1": 2}
    assert learned.is_better
    assert learned.gain.low > 0
    assert learned.learned.dr.value > max(each.dr.value for each in learned.arms)


def test_estimates_weigh_customers_by_their_chances():
    """Nine of ten customers of a rich group got B; the plain means of A and B are far apart."""
    chances = np.array([[0.2, 0.08, 0.72], [0.2, 0.72, 0.08]])
    log = made_up_test(Shop(2, 12_000, np.zeros((2, 3)), True), 0, chances[:, 1:] / 0.8).log
    profit = np.where(log.groups == "Rule 0", 9.0, 1.0) + (log.taken > 0)
    constant = replace(log, profit=profit)
    plain = [profit[constant.taken == arm].mean() for arm in range(3)]
    assert plain[2] - plain[1] > 3
    predicted = predict_profit(constant)[0]
    for arm in (1, 2):
        contrast = np.tile(np.eye(3)[arm] - np.eye(3)[0], (len(profit), 1))
        ips = estimate_value(constant, contrast, np.zeros(predicted.shape))
        robust = estimate_value(constant, contrast, predicted)
        assert abs(ips.value - 1) < ips.high - ips.low < 1.5
        assert robust.value == pytest.approx(1, abs=0.02)


def test_nothing_is_learned_from_too_few_buyers():
    assert learn_rule(made_up_test(differing_shop(600), 0).log) is None


def test_each_later_result_needs_stronger_evidence():
    log = made_up_test(differing_shop(), 0).log
    lows = [learn_rule(log, before).gain.low for before in (0, 1, 9)]
    assert lows == sorted(lows, reverse=True)


def test_small_groups_follow_the_others():
    shrunk = shrink(np.array([1.0, 1.2, -3.0]), np.array([0.1, 0.1, 20.0]))
    assert shrunk[2] > 0.9
    apart = shrink(np.array([5.0, -5.0]), np.array([0.01, 0.01]))
    assert apart == pytest.approx([5, -5], abs=0.1)


def test_chances_favour_the_better_offer_and_sum_to_one():
    chances = best_chances([(1.0, 0.5), (1.6, 0.5), (0.2, 0.5)], explore=0.3)
    assert sum(chances) == pytest.approx(1)
    assert min(chances) >= 0.1
    assert chances[1] == max(chances)
    assert best_chances([(1.0, 0.5), (9.0, 0.5)], explore=1.0) == (0.5, 0.5)


def test_results_of_an_offer_are_weighed_by_their_precision():
    groups = [
        {"group": "All", "discount": 0.1, "value": value, "error": error}
        for value, error in ((1.0, 1.0), (4.0, 2.0))
    ]
    value, error = combine(groups)["All", 0.1]
    assert value == pytest.approx(1.6)
    assert error == pytest.approx(0.8**0.5)


@pytest.mark.nightly
@pytest.mark.parametrize("has_effect", [True, False])
def test_intervals_cover_the_truth_and_no_change_is_proposed_without_effect(has_effect):
    """A part of the figures in docs/data_scientist/learned_offers.md."""
    runs = [
        run_shop(made_up_shop(seed, has_effect=has_effect), explore=0.3, tests=2)
        for seed in range(1_000, 1_040)
    ]
    for name in ("ips always", "dr always", "ips learned", "dr learned"):
        covered = [one for run in runs for one in run.covered.get(name, ())]
        assert np.mean(covered) > 0.9, name
    if has_effect:
        gained = [np.mean(run.regret["even"]) - np.mean(run.regret["learning"]) for run in runs]
        assert np.mean(gained) > 0
        assert sum(run.is_worse for run in runs) == 0
    else:
        assert np.mean([run.proposed for run in runs]) <= 0.05


def test_log_can_be_cut_to_some_customers():
    log = made_up_test(differing_shop(500), 0).log
    part = log.select(log.groups == "Rule 1")
    assert isinstance(part, OfferLog)
    assert set(part.groups) == {"Rule 1"}
    assert part.logged.tolist() == log.logged[log.groups == "Rule 1"].tolist()
