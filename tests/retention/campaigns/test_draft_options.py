"""Test the choice of the default draft, its warnings and the changes that help."""

import pandas as pd
import pytest

from retention.campaigns.lifecycle.spec import OfferLine, Prior, Wider
from retention.campaigns.planning.audience import Audience
from retention.campaigns.planning.remedies import cheaper_offer, remedy, warning
from retention.campaigns.planning.tier_choice import Option, choose_option, tiers_from
from retention.risk.policy import read_policy
from tests.retention.campaigns.samples import a_body, a_line

STRONG = Prior(mean=0.2, sd=0.05)
SCORES = pd.DataFrame({"tier": ["high"] * 100 + ["medium"] * 400 + ["low"] * 500})


def line(customers: int, value: float = 50.0, discount: float = 0.1) -> OfferLine:
    base = 0.4 * customers
    totals = {"sales": customers * value, "base_sales": base * value, "base": base}
    return a_line(rule="Coupon", discount=discount, customers=customers, **totals)


def body(customers: int, prior: Prior = STRONG, **changes):
    changes = {"offers": (line(customers),), "prior": prior, **changes}
    return a_body(audience=customers, tiers={"high": customers}, **changes)


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(
        '[[rules]]\nname = "Acts"\ntiers = ["high", "medium"]\naction = "coupon"\ndiscount = 0.1\n'
        '[[rules]]\nname = "Rests"\ntiers = ["low"]\naction = "nothing"\n'
    )
    return read_policy(path)


def choose(policy, prior=STRONG, *, may_widen=True):
    def evaluate(tier, scores):
        return Option(tier, Audience(scores, {}), body(len(scores), prior))

    return choose_option(SCORES, "high", policy, evaluate, may_widen=may_widen)


def test_options_are_the_tiers_that_the_policy_acts_on(policy):
    assert tiers_from("high", policy) == ("high", "medium")
    assert tiers_from("medium", policy) == ("medium",)
    assert tiers_from("low", policy) == ("low",)


def test_default_draft_is_the_most_profitable_that_can_be_measured(policy):
    chosen = choose(policy)
    assert (chosen.tier, chosen.body.audience) == ("medium", 500)
    asked = {"tier": "high", "customers": 100, "why": "too_few"}
    assert chosen.body.asked.model_dump(exclude={"excluded"}) == asked
    assert chosen.body.wider is None


def test_largest_holdout_is_taken_only_where_it_is_needed(policy):
    assert choose(policy).body.holdout == 0.15
    assert choose(policy, Prior(mean=0.16, sd=0.05)).body.holdout == 0.2


def test_explicit_tier_stays_and_notes_the_wider_audience(policy):
    chosen = choose(policy, may_widen=False)
    assert (chosen.tier, chosen.body.audience, chosen.body.asked) == ("high", 100, None)
    assert (chosen.body.wider.tier, chosen.body.wider.customers) == ("medium", 500)
    assert chosen.body.wider.learnable


def test_asked_audience_stays_if_no_option_can_be_measured(policy):
    chosen = choose(policy, Prior(mean=0.02, sd=0.01))
    assert (chosen.tier, chosen.body.holdout, chosen.body.asked) == ("high", 0.15, None)


def test_good_draft_has_no_warning():
    assert warning(body(2000)) is None
    assert remedy(body(2000)) is None


def test_small_draft_offers_to_widen():
    wider = Wider(tier="medium", customers=532, profit=40.0, learnable=True)
    small = body(60, wider=wider)
    assert warning(small)["code"] == "too_small"
    assert remedy(small) == {"action": "widen", "tier": "medium", "customers": 532}


def test_small_draft_without_a_wider_audience_offers_nothing():
    assert remedy(body(60)) is None


WEAK, COSTLY = Prior(mean=0.1, sd=0.02), {"offers": (line(2000, discount=0.2),), "redemption": 0.9}


def test_losing_draft_offers_the_smallest_cut_that_earns():
    costly = body(2000, WEAK, **COSTLY)
    fault = warning(costly)
    assert (fault["code"], fault["too_small"]) == ("loses_money", False)
    assert cheaper_offer(costly).discount == 0.05
    found = remedy(costly)
    assert (found["action"], found["offer"]["discount"]) == ("cheaper", 0.05)
    assert found["profit"] > 0


def test_losing_draft_widens_only_if_the_wider_one_earns():
    for profit, action in ((1.0, "widen"), (-1.0, "cheaper")):
        wider = Wider(tier="medium", customers=3000, profit=profit, learnable=True)
        assert remedy(body(2000, WEAK, wider=wider, **COSTLY))["action"] == action
