"""Test models per past offer and the choice of an offer per customer."""

import numpy as np
import pandas as pd
import pytest

from retention.campaigns.planning.targeting import select_by_profit
from retention.errors import BadInput
from retention.risk.policy import Policy, read_policy
from retention.uplift.experiment import Experiment
from retention.uplift.offer_effects import fit_offer_models, offer_kind
from retention.uplift.past_campaigns import UpliftPrediction

COUPON = {"action": "coupon", "discount": 0.1}
REMINDER = {"action": "reminder"}
A, B = offer_kind(COUPON), offer_kind(REMINDER)


def _past(
    number: int, seed: int, coupon: float, chance_of_coupon=0.5
) -> tuple[Experiment, np.ndarray]:
    """Simulate campaigns: a coupon moves ``likes`` > 0 by ``coupon``, a reminder all by .05."""
    rng = np.random.default_rng(seed)
    likes, often = rng.normal(size=(2, number))
    treated = rng.random(number) < 0.7
    chance = chance_of_coupon(likes) if callable(chance_of_coupon) else chance_of_coupon
    gets_coupon = rng.random(number) < chance
    kinds = np.where(treated, np.where(gets_coupon, A, B), "")
    uplift = treated * np.where(gets_coupon, coupon * (likes > 0), 0.05)
    ordered = (rng.random(number) < 0.3 + 0.05 * np.tanh(often) + uplift).astype(float)
    table = pd.DataFrame({"likes": likes, "often": often})
    return Experiment(table, ordered, treated.astype(float), 0.7), kinds


def test_randomised_offers_get_separate_models():
    trial, kinds = _past(6000, 0, coupon=0.4)
    offers = fit_offer_models(trial, kinds, "t_logistic")
    assert offers is not None
    assert offers.models[A].level == pytest.approx(0.2, abs=0.05)
    assert offers.models[B].level == pytest.approx(0.05, abs=0.05)
    predicted = offers.predict(pd.DataFrame({"likes": [2.0, -2.0], "often": [0.0, 0.0]}))
    assert predicted[A][0] > predicted[B][0] + 0.1
    assert predicted[A][1] < predicted[B][1]


def test_policy_driven_offers_are_not_confounded_by_their_customers():
    """Coupons went to responsive customers, but similar customers do not differ by offer."""
    rng = np.random.default_rng(1)
    number = 8000
    likes = rng.normal(size=number)
    treated = rng.random(number) < 0.7
    gets_coupon = rng.random(number) < 1 / (1 + np.exp(-2 * likes))
    kinds = np.where(treated, np.where(gets_coupon, A, B), "")
    ordered = (rng.random(number) < 0.3 + 0.3 * (likes > 0) * treated).astype(float)
    trial = Experiment(pd.DataFrame({"likes": likes}), ordered, treated.astype(float), 0.7)
    naive = [ordered[kinds == each].mean() for each in (A, B)]
    assert naive[0] > naive[1] + 0.1
    assert fit_offer_models(trial, kinds, "t_logistic") is None


def test_rare_or_equal_offers_are_pooled():
    trial, kinds = _past(2000, 2, coupon=0.1)
    assert fit_offer_models(trial, np.where(kinds == A, "", kinds), "t_logistic") is None
    rare, rare_kinds = _past(2000, 3, coupon=0.4, chance_of_coupon=0.05)
    assert fit_offer_models(rare, rare_kinds, "t_logistic") is None


def test_no_prediction_without_similar_customers_of_an_offer():
    trial, kinds = _past(
        8000, 4, coupon=0.6, chance_of_coupon=lambda likes: np.where(likes > 1, 0.0, 0.5)
    )
    offers = fit_offer_models(trial, kinds, "t_logistic")
    assert offers is not None
    predicted = offers.predict(pd.DataFrame({"likes": [-1.0, 4.0], "often": [0.0, 0.0]}))
    assert np.isfinite(predicted[A][0])
    assert np.isnan(predicted[A][1])
    assert np.isfinite(predicted[B]).all()


RULES = """
[[rules]]
name = "Coupon"
tiers = ["high"]
action = "coupon"
discount = 0.1
[[rules]]
name = "Reminder"
instead_of = ["Coupon"]
action = "reminder"
"""


@pytest.fixture
def policy(tmp_path) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(RULES)
    return read_policy(path)


def _customers(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "customer_id": [f"k{n}" for n in range(len(values))],
            "churn_probability": 0.5,
            "tier": "high",
            "expected_value": values,
            "rule": "Coupon",
        }
    )


def _chosen(policy: Policy, predicted: UpliftPrediction) -> pd.DataFrame:
    people = _customers([100.0] * len(predicted.pooled))
    return select_by_profit(people, predicted, policy, 0.3).customers


def test_customer_gets_the_most_profitable_allowed_offer(policy):
    by_offer = {A: np.array([0.2, 0.05, 0.2]), B: np.array([0.05, 0.05, np.nan])}
    chosen = _chosen(policy, UpliftPrediction(np.full(3, 0.1), by_offer)).set_index("customer_id")
    assert chosen["rule"].to_dict() == {"k0": "Coupon", "k1": "Reminder", "k2": "Coupon"}
    assert chosen["uplift"].to_dict() == {"k0": 0.2, "k1": 0.05, "k2": 0.2}


def test_pooled_uplift_keeps_the_policys_own_offer(policy):
    chosen = _chosen(policy, UpliftPrediction(np.full(3, 0.1)))
    assert set(chosen["rule"]) == {"Coupon"}


def test_budget_prefers_cheaper_offers_to_excluding_customers(policy):
    predicted = UpliftPrediction(np.full(100, 0.1), {A: np.full(100, 0.2), B: np.full(100, 0.15)})
    assert set(_chosen(policy, predicted)["rule"]) == {"Coupon"}
    campaign = policy.campaign.model_copy(update={"budget": 30.0})
    tight = _chosen(policy.model_copy(update={"campaign": campaign}), predicted)
    assert len(tight) == 100
    assert set(tight["rule"]) == {"Coupon", "Reminder"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('instead_of = ["Coupon"]|instead_of = ["Cupon"]', "'Cupon', which is no rule with tiers"),
        ('instead_of = ["Coupon"]|instead_of = ["Reminder"]', "use 'Coupon'"),
        ('instead_of = ["Coupon"]|instead_of = ["Coupon"]\ntiers = ["high"]', "leave tiers out"),
        ('action = "reminder"|action = "call"', "only what is sent can stand in"),
        ('instead_of = ["Coupon"]|', "names none, so it is for nobody"),
    ],
)
def test_rejects_replacement_rule_without_a_place(tmp_path, change, says):
    path = tmp_path / "policy.toml"
    path.write_text(RULES.replace(*change.split("|")))
    with pytest.raises(BadInput, match=says):
        read_policy(path)


def test_bandit_draws_among_the_same_offers(policy):
    from retention.recommend.bandit import thompson

    rules = policy.recommend.model_copy(update={"vary_offers": True})
    vary = policy.model_copy(update={"recommend": rules})
    people = _customers([1.0, 1.0]).assign(rule=["Coupon", "Reminder"])
    arms = thompson.eligible_arms(people, policy)
    assert arms.allowed.sum(axis=1).tolist() == [3, 1]
    assert thompson.eligible_arms(people, vary).allowed.all()
