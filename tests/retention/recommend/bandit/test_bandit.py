"""The bandit: chances that sum to 1 and are kept, learning from rewards, and no acting before it is surely better."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.errors import BadInput, TooLittleData
from retention.recommend.bandit import thompson
from retention.recommend.bandit.decisions import judge, posterior_of, require
from retention.risk.policy import Policy

POLICY = Policy.model_validate(
    {
        "recommend": {"experiment": 0.3},
        "rules": [
            {"name": "High", "tiers": ["high"], "action": "coupon", "discount": 0.1},
            {
                "name": "Trend",
                "tiers": ["high"],
                "reasons": ["trend"],
                "action": "coupon",
                "discount": 0.2,
            },
            {"name": "Medium", "tiers": ["medium"], "action": "coupon", "discount": 0.05},
            {"name": "Low", "tiers": ["low"], "action": "nothing"},
        ],
    }
)
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


def test_arms_are_blends_of_the_own_offer_or_of_any_offer_of_the_tier():
    people = customers(50)
    own = thompson.arms(people, POLICY)
    assert own.names[own.own[0]].split("|") == ["both", people["rule"][0]]
    assert (own.allowed.sum(axis=1) == 3).all()
    wide = thompson.arms(people, WIDE)
    assert wide.allowed.sum(axis=1).tolist() == [
        6 if tier == "high" else 3 for tier in people["tier"]
    ]
    assert not any("Low" in name for name in wide.names)


@given(st.integers(1, 40), st.floats(0, 1), st.booleans(), st.integers(0, 1000))
def test_chances_sum_to_one_and_only_allowed_arms_have_one(count, share, vary, seed):
    people = customers(count, seed)
    choice = thompson.arms(people, WIDE if vary else POLICY)
    chances = thompson.explored(choice, share)
    assert chances.sum(axis=1) == pytest.approx(1)
    assert not chances[~choice.allowed].any()
    taken, chance = thompson.drawn(chances, seed)
    assert (chances[np.arange(count), taken] == chance).all()
    assert (chance > 0).all()


def test_arms_are_drawn_by_their_chances():
    chances = np.tile([0.2, 0.0, 0.7, 0.1], (20_000, 1))
    taken, _ = thompson.drawn(chances, 1)
    assert np.bincount(taken, minlength=4) / 20_000 == pytest.approx(
        [0.2, 0.0, 0.7, 0.1], abs=0.015
    )
    with pytest.raises(ValueError, match="sum to 1"):
        thompson.drawn(chances * 0.9, 1)


def logged(count: int, better: float, seed: int = 0) -> pd.DataFrame:
    """Decisions of exploration in which the blend `new` earns ``better`` more than the 0.2 of the others, for valuable customers."""
    rng = np.random.default_rng(seed + 1000)
    people = customers(count, seed)
    choice = thompson.arms(people, POLICY)
    taken, chance = thompson.drawn(thompson.explored(choice, 0.6), seed + 500)
    new = np.array([choice.blend[arm] == "new" for arm in taken])
    mean = 0.2 + better * new * (people["expected_value"] > 30)
    reward = (rng.random(count) < mean).astype(float)
    names = [choice.names[arm] for arm in taken]
    return people.assign(arm=names, propensity=chance, reward=reward)


def test_what_earns_more_is_taken_more_often_where_it_does():
    lines = logged(4000, 0.5)
    choice = thompson.arms(lines, POLICY)
    posterior = posterior_of(lines, POLICY)
    chances = posterior.chances(thompson.context(lines), choice.allowed, explore=0.05, seed=0)
    assert chances.sum(axis=1) == pytest.approx(1)
    new = chances[:, [blend == "new" for blend in choice.blend]].sum(axis=1)
    assert new[lines["expected_value"] > 80].mean() > 0.9
    assert chances[choice.allowed].min() >= thompson.LEAST_EXPLORED / 3 - 1e-12


def test_it_may_act_where_it_is_surely_better_and_not_where_nothing_differs():
    good = judge(logged(4000, 0.5), POLICY)
    assert good.may_act
    assert good.data["estimates"]["dr"]["low"] > good.data["logging"]["value"]
    require(good)
    same = judge(logged(4000, 0.0), POLICY)
    assert not same.may_act
    with pytest.raises(BadInput, match=r"recommend\.bandit = true.*set it to false"):
        require(same)


def test_the_judgement_is_near_what_the_bandit_earns_when_it_acts():
    """Trained on one log and judged on it, then let loose on ten thousand others."""
    lines = logged(6000, 0.5, seed=1)
    told = judge(lines, POLICY).data["estimates"]
    fresh = customers(10_000, 99)
    choice = thompson.arms(fresh, POLICY)
    chances = posterior_of(lines, POLICY).chances(
        thompson.context(fresh), choice.allowed, explore=POLICY.recommend.experiment, seed=3
    )
    new = chances[:, [blend == "new" for blend in choice.blend]].sum(axis=1)
    earns = float((0.2 + 0.5 * new * (fresh["expected_value"] > 30)).mean())
    for estimate in told.values():
        assert estimate["low"] - 0.01 < earns < estimate["high"] + 0.01
    assert told["dr"]["high"] - told["dr"]["low"] <= told["ips"]["high"] - told["ips"]["low"]


def test_too_few_decisions_or_no_exploration_judge_nothing():
    with pytest.raises(TooLittleData, match="50 decisions"):
        judge(logged(50, 0.5), POLICY)
    lines = logged(500, 0.5)
    own = lines[lines["arm"].str.startswith("both")]
    with pytest.raises(TooLittleData, match="0 of them by another arm"):
        judge(own.assign(propensity=1.0), POLICY)


def test_an_audience_is_decided_with_its_chances_and_the_bandit_moves_them():
    people = customers(3000)
    plain = thompson.decided(people, POLICY, None, seed=4)
    assert plain["rule"].tolist() == people["rule"].tolist()  # offers do not vary
    shares = plain["blend"].value_counts(normalize=True)
    assert shares["both"] == pytest.approx(0.8, abs=0.03)
    assert set(np.round(plain["propensity"], 6)) == {0.8, 0.1}
    assert (plain["arm"] == plain["blend"] + "|" + plain["rule"]).all()
    acting = thompson.decided(people, WIDE, posterior_of(logged(4000, 0.5), POLICY), seed=4)
    worth = acting["expected_value"] > 80
    assert (acting.loc[worth, "blend"] == "new").mean() > 0.5 > (plain["blend"] == "new").mean()
    assert acting["propensity"].between(0.3 / 6 - 1e-9, 1).all()
    assert set(acting.loc[acting["tier"] == "high", "rule"]) == {"High", "Trend"}


def test_who_has_a_rule_that_is_no_arm_keeps_it():
    people = customers(20).assign(rule="Low")
    found = thompson.decided(people, POLICY, None, seed=1)
    assert set(found["rule"]) == {"Low"}
    assert found["propensity"].isna().all()
    assert set(found["blend"]) == {"both"}


def test_an_action_with_items_of_its_own_kind_has_one_arm():
    rules = [
        rule.model_copy(update={"action": "reminder", "discount": 0.0})
        if rule.name == "Medium"
        else rule
        for rule in POLICY.rules
    ]
    policy = POLICY.model_copy(update={"rules": tuple(rules)})
    people = customers(60)
    found = thompson.decided(people, policy, None, seed=1)
    reminded = found["rule"] == "Medium"
    assert set(found.loc[reminded, "arm"]) == {"both|Medium"}
    assert set(found.loc[reminded, "propensity"]) == {1.0}
    assert found.loc[~reminded, "propensity"].max() < 1
