"""Past offers told apart where customers alike got either, else pooled; and each customer's own offer chosen by it."""

import numpy as np
import pandas as pd
import pytest

from retention.campaigns.targeting import select_by_profit
from retention.errors import BadInput
from retention.risk.policy import Policy, read_policy
from retention.uplift.experiments import Predicted
from retention.uplift.offers import kind, tell_apart
from retention.uplift.table import Experiment

COUPON = {"action": "coupon", "discount": 0.1}
REMINDER = {"action": "reminder"}
A, B = kind(COUPON), kind(REMINDER)


def _past(
    number: int, seed: int, coupon: float, chance_of_coupon=0.5
) -> tuple[Experiment, np.ndarray]:
    """A coupon moves customers with ``likes`` > 0 by ``coupon``, a reminder moves everybody by .05."""
    rng = np.random.default_rng(seed)
    likes, often = rng.normal(size=(2, number))
    treated = rng.random(number) < 0.7
    first = rng.random(number) < (
        chance_of_coupon(likes) if callable(chance_of_coupon) else chance_of_coupon
    )
    kinds = np.where(treated, np.where(first, A, B), "")
    uplift = treated * np.where(first, coupon * (likes > 0), 0.05)
    ordered = (rng.random(number) < 0.3 + 0.05 * np.tanh(often) + uplift).astype(float)
    return Experiment(
        pd.DataFrame({"likes": likes, "often": often}), ordered, treated.astype(float), 0.7
    ), kinds


def test_two_offers_that_were_drawn_are_told_apart_each_with_whom_it_moves():
    trial, kinds = _past(6000, 0, coupon=0.4)
    offers = tell_apart(trial, kinds, "t_logistic")
    assert offers is not None
    assert offers.told[A].level == pytest.approx(0.2, abs=0.05)
    assert offers.told[B].level == pytest.approx(0.05, abs=0.05)
    told = offers.predict(pd.DataFrame({"likes": [2.0, -2.0], "often": [0.0, 0.0]}))
    assert told[A][0] > told[B][0] + 0.1
    assert told[A][1] < told[B][1]


def test_an_offer_that_follows_from_who_the_customer_is_is_still_measured_without_its_customers_effect():
    """Mostly those got the coupon whom anything moves: alike customers are compared, so the offers do not differ."""
    rng = np.random.default_rng(1)
    number = 8000
    likes = rng.normal(size=number)
    treated = rng.random(number) < 0.7
    first = rng.random(number) < 1 / (1 + np.exp(-2 * likes))
    kinds = np.where(treated, np.where(first, A, B), "")
    ordered = (rng.random(number) < 0.3 + 0.3 * (likes > 0) * treated).astype(float)
    trial = Experiment(pd.DataFrame({"likes": likes}), ordered, treated.astype(float), 0.7)
    naive = [ordered[kinds == one].mean() for one in (A, B)]
    assert naive[0] > naive[1] + 0.1
    assert tell_apart(trial, kinds, "t_logistic") is None


def test_offers_are_one_where_too_few_got_them_or_they_do_the_same():
    trial, kinds = _past(2000, 2, coupon=0.1)
    assert tell_apart(trial, np.where(kinds == A, "", kinds), "t_logistic") is None
    rare, of = _past(2000, 3, coupon=0.4, chance_of_coupon=0.05)
    assert tell_apart(rare, of, "t_logistic") is None


def test_nothing_is_said_of_an_offer_for_customers_like_whom_nobody_got_it():
    trial, kinds = _past(
        8000, 4, coupon=0.6, chance_of_coupon=lambda likes: np.where(likes > 1, 0.0, 0.5)
    )
    offers = tell_apart(trial, kinds, "t_logistic")
    assert offers is not None
    told = offers.predict(pd.DataFrame({"likes": [-1.0, 4.0], "often": [0.0, 0.0]}))
    assert np.isfinite(told[A][0])
    assert np.isnan(told[A][1])
    assert np.isfinite(told[B]).all()


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


def test_each_customer_gets_the_offer_that_earns_most_of_those_the_policy_allows(policy):
    people = _customers([100.0, 100.0, 100.0])
    told = Predicted(
        np.full(3, 0.1), {A: np.array([0.2, 0.05, 0.2]), B: np.array([0.05, 0.05, np.nan])}
    )
    chosen = select_by_profit(people, told, policy, 0.3).customers.set_index("customer_id")
    assert chosen["rule"].to_dict() == {"k0": "Coupon", "k1": "Reminder", "k2": "Coupon"}
    assert chosen["uplift"].to_dict() == {"k0": 0.2, "k1": 0.05, "k2": 0.2}


def test_pooled_everybody_keeps_the_policys_own_offer_however_cheap_the_others_are(policy):
    chosen = select_by_profit(
        _customers([100.0] * 3), Predicted(np.full(3, 0.1)), policy, 0.3
    ).customers
    assert set(chosen["rule"]) == {"Coupon"}


def test_a_budget_moves_customers_to_the_cheaper_offer_before_it_leaves_them_out(policy):
    people = _customers([100.0] * 100)
    told = Predicted(np.full(100, 0.1), {A: np.full(100, 0.2), B: np.full(100, 0.15)})
    free = select_by_profit(people, told, policy, 0.3).customers
    assert set(free["rule"]) == {"Coupon"}
    campaign = policy.campaign.model_copy(update={"budget": 30.0})
    tight = select_by_profit(
        people, told, policy.model_copy(update={"campaign": campaign}), 0.3
    ).customers
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
def test_a_stand_in_without_a_place_is_refused_with_a_sentence(tmp_path, change, says):
    path = tmp_path / "policy.toml"
    path.write_text(RULES.replace(*change.split("|")))
    with pytest.raises(BadInput, match=says):
        read_policy(path)


def test_the_experiment_draws_among_the_same_offers(policy):
    from retention.recommend.bandit import thompson

    vary = policy.model_copy(
        update={"recommend": policy.recommend.model_copy(update={"vary_offers": True})}
    )
    people = _customers([1.0, 1.0]).assign(rule=["Coupon", "Reminder"])
    kept = thompson.arms(people, policy)
    assert kept.allowed.sum(axis=1).tolist() == [3, 1]
    assert thompson.arms(people, vary).allowed.all()
