"""Test the bandit: valid probabilities, learning, and no acting before it is surely better."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.errors import BadInput, TooLittleData
from retention.recommend.bandit import thompson
from retention.recommend.bandit.decisions import evaluate_bandit, fit_bandit, require_improvement
from retention.risk.policy import Policy

HIGH = {"name": "High", "tiers": ["high"], "action": "coupon", "discount": 0.1}
RULES = [
    HIGH,
    {**HIGH, "name": "Trend", "reasons": ["trend"], "discount": 0.2},
    {**HIGH, "name": "Medium", "tiers": ["medium"], "discount": 0.05},
    {"name": "Low", "tiers": ["low"], "action": "nothing"},
]
POLICY = Policy.model_validate({"recommend": {"experiment": 0.3}, "rules": RULES})
WIDE = POLICY.model_copy(
    update={"recommend": POLICY.recommend.model_copy(update={"vary_offers": True})}
)


def customers(count: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    tier = np.where(rng.random(count) < 0.5, "high", "medium")
    return pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(count)],
            "tier": tier,
            "rule": np.where(tier == "high", "High", "Medium"),
            "churn_probability": rng.uniform(0.3, 0.9, count),
            "expected_value": rng.gamma(2, 20, count),
            "campaign_id": "camp",
        }
    )


def test_arms_combine_blends_with_allowed_offers():
    people = customers(50)
    own = thompson.eligible_arms(people, POLICY)
    assert own.names[own.own[0]].split("|") == ["both", people["rule"][0]]
    assert (own.allowed.sum(axis=1) == 3).all()
    wide = thompson.eligible_arms(people, WIDE)
    assert (wide.allowed.sum(axis=1) == np.where(people["tier"] == "high", 6, 3)).all()
    assert not any("Low" in name for name in wide.names)


@given(st.integers(1, 40), st.floats(0, 1), st.booleans(), st.integers(0, 1000))
def test_chances_sum_to_one_over_allowed_arms(count, share, vary, seed):
    people = customers(count, seed)
    arms = thompson.eligible_arms(people, WIDE if vary else POLICY)
    chances = thompson.exploration_chances(arms, share)
    assert chances.sum(axis=1) == pytest.approx(1)
    assert not chances[~arms.allowed].any()
    taken, chance = thompson.draw_arms(chances, seed)
    assert (chances[np.arange(count), taken] == chance).all()
    assert (chance > 0).all()


def test_arms_are_drawn_by_their_chances():
    shares = [0.2, 0.0, 0.7, 0.1]
    chances = np.tile(shares, (20_000, 1))
    taken, _ = thompson.draw_arms(chances, 1)
    assert np.bincount(taken, minlength=4) / 20_000 == pytest.approx(shares, abs=0.015)
    with pytest.raises(ValueError, match="sum to 1"):
        thompson.draw_arms(chances * 0.9, 1)


def logged(count: int, better: float, seed: int = 0) -> pd.DataFrame:
    """Create logged decisions of exploration.

    For valuable customers the blend `new` earns ``better`` more than the 0.2 of the others.
    """
    rng = np.random.default_rng(seed + 1000)
    people = customers(count, seed)
    arms = thompson.eligible_arms(people, POLICY)
    taken, chance = thompson.draw_arms(thompson.exploration_chances(arms, 0.6), seed + 500)
    is_new = np.array([arms.blend[arm] == "new" for arm in taken])
    mean = 0.2 + better * is_new * (people["expected_value"] > 30)
    reward = (rng.random(count) < mean).astype(float)
    names = [arms.names[arm] for arm in taken]
    return people.assign(arm=names, propensity=chance, reward=reward)


def test_better_arm_is_taken_more_often_where_it_earns_more():
    lines = logged(4000, 0.5)
    arms = thompson.eligible_arms(lines, POLICY)
    posterior, features = fit_bandit(lines, POLICY), thompson.context_features(lines)
    chances = posterior.chances(features, arms.allowed, explore=0.05, seed=0)
    assert chances.sum(axis=1) == pytest.approx(1)
    new_probability = chances[:, [blend == "new" for blend in arms.blend]].sum(axis=1)
    assert new_probability[lines["expected_value"] > 80].mean() > 0.9
    assert chances[arms.allowed].min() >= thompson.MIN_EXPLORATION / 3 - 1e-12


def test_bandit_may_act_only_if_surely_better():
    better = evaluate_bandit(logged(4000, 0.5), POLICY)
    assert better["may_act"]
    assert better["estimates"]["dr"]["low"] > better["logging"]["value"]
    require_improvement(better)
    equal = evaluate_bandit(logged(4000, 0.0), POLICY)
    assert not equal["may_act"]
    with pytest.raises(BadInput, match=r"recommend\.bandit = true.*set it to false"):
        require_improvement(equal)


def test_evaluation_is_near_the_reward_of_acting():
    """Fit and evaluate on one log, then act on ten thousand other customers."""
    lines = logged(6000, 0.5, seed=1)
    estimates = evaluate_bandit(lines, POLICY)["estimates"]
    others = customers(10_000, 99)
    arms = thompson.eligible_arms(others, POLICY)
    chances = fit_bandit(lines, POLICY).chances(
        thompson.context_features(others), arms.allowed, explore=POLICY.recommend.experiment, seed=3
    )
    new_probability = chances[:, [blend == "new" for blend in arms.blend]].sum(axis=1)
    reward = float((0.2 + 0.5 * new_probability * (others["expected_value"] > 30)).mean())
    for estimate in estimates.values():
        assert estimate["low"] - 0.01 < reward < estimate["high"] + 0.01
    assert (
        estimates["dr"]["high"] - estimates["dr"]["low"]
        <= estimates["ips"]["high"] - estimates["ips"]["low"]
    )


def test_evaluation_needs_decisions_and_exploration():
    with pytest.raises(TooLittleData, match="50 decisions"):
        evaluate_bandit(logged(50, 0.5), POLICY)
    lines = logged(500, 0.5)
    own = lines[lines["arm"].str.startswith("both")]
    with pytest.raises(TooLittleData, match="0 of them by another arm"):
        evaluate_bandit(own.assign(propensity=1.0), POLICY)


def test_assignment_stores_chances_and_follows_the_bandit():
    people = customers(3000)
    without_bandit = thompson.assign_arms(people, POLICY, None, seed=4)
    assert without_bandit["rule"].tolist() == people["rule"].tolist()  # offers do not vary
    shares = without_bandit["blend"].value_counts(normalize=True)
    assert shares["both"] == pytest.approx(0.8, abs=0.03)
    assert set(np.round(without_bandit["propensity"], 6)) == {0.8, 0.1}
    assert (without_bandit["arm"] == without_bandit["blend"] + "|" + without_bandit["rule"]).all()
    with_bandit = thompson.assign_arms(people, WIDE, fit_bandit(logged(4000, 0.5), POLICY), seed=4)
    valuable = with_bandit[with_bandit["expected_value"] > 80]
    before, after = ((each["blend"] == "new").mean() for each in (without_bandit, valuable))
    assert after > 0.5 > before
    assert with_bandit["propensity"].between(0.3 / 6 - 1e-9, 1).all()
    assert set(with_bandit.loc[with_bandit["tier"] == "high", "rule"]) == {"High", "Trend"}


def test_customers_keep_a_rule_without_arm():
    people = customers(20).assign(rule="Low")
    assigned = thompson.assign_arms(people, POLICY, None, seed=1)
    assert set(assigned["rule"]) == {"Low"}
    assert assigned["propensity"].isna().all()
    assert set(assigned["blend"]) == {"both"}


def test_action_with_its_own_items_has_one_arm():
    reminder = POLICY.rules[2].model_copy(update={"action": "reminder", "discount": 0.0})
    rules = (*POLICY.rules[:2], reminder, POLICY.rules[3])
    policy = POLICY.model_copy(update={"rules": rules})
    people = customers(60)
    assigned = thompson.assign_arms(people, policy, None, seed=1)
    is_reminder = assigned["rule"] == "Medium"
    assert set(assigned.loc[is_reminder, "arm"]) == {"both|Medium"}
    assert set(assigned.loc[is_reminder, "propensity"]) == {1.0}
    assert assigned.loc[~is_reminder, "propensity"].max() < 1
