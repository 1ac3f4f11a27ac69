"""Cost, profit and power of a plan, worked by hand and against the reference's figures."""

import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.campaigns.lifecycle.spec import Prior
from retention.campaigns.measurement.effects import difference, sample_ratio, smallest_effect
from retention.campaigns.message.wording import default_text, fill_text, validate_text
from retention.campaigns.planning import offer_terms
from retention.campaigns.planning.targeting import affordable_count, prior_from_campaigns
from retention.errors import BadInput
from retention.risk.policy import DEFAULT, read_policy
from retention.risk.strategy import Rule
from tests.retention.campaigns.samples import a_body, a_line
from tests.world import add, campaign, read


@pytest.mark.parametrize(
    ("treated", "control", "effect"),
    [(90_000, 10_000, 0.00886), (9_000, 1_000, 0.0280), (100, 0, None)],
)
def test_smallest_effect_matches_worked_examples(treated, control, effect):
    assert smallest_effect(0.1, treated, control) == pytest.approx(effect, abs=5e-5)


def test_plan_matches_a_worked_example():
    plan = a_body().plan()
    # 85% of: .04 (.3 − .1·.1) 5000 − .1·.1·2000 − .02·100
    assert plan.profit == pytest.approx(0.85 * (0.04 * 0.29 * 5000 - 20 - 2))
    assert plan.cost == pytest.approx(0.85 * (0.01 * (2000 + 0.04 * 5000) + 2))
    assert (plan.treated, plan.control) == (85, 15)
    assert plan.profit_low < plan.profit < plan.profit_high
    assert not plan.learnable  # 15 held out tell nothing of 4 in a hundred


def _plan(**terms):
    return a_body(offers=(a_line(**terms),)).plan()


def test_plan_with_money_off_and_calls_matches_a_worked_example():
    plan = _plan(discount=0.0, face=4.0, min_order=40.0)
    # 85% of: .04 · .3 · 5000 − .1 · 4 · (40 + .04 · 100) − .02 · 100
    assert plan.profit == pytest.approx(0.85 * (60 - 0.4 * 44 - 2))
    assert plan.cost == pytest.approx(0.85 * (0.4 * 44 + 2))
    plan = _plan(action="call", discount=0.0, contact=4.0)
    assert plan.profit == pytest.approx(0.85 * (60 - 400))
    assert plan.cost == pytest.approx(0.85 * 400)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"face": 9.0, "min_order": 30.0}, "use it from €36.00 on"),
        ({"face": 9.0, "min_order": 36.0}, None),
        ({"face": 9.0, "min_order": 0.0}, "smallest"),
        ({"face": 0.0, "discount": 0.26}, "at most 25%"),
        ({"action": "free_shipping", "face": 5.0, "min_order": 10.0}, "would leave −20%"),
    ],
)
def test_offer_below_the_minimum_margin_is_rejected(change, says):
    body = a_body(offers=(a_line(**{"discount": 0.0, **change}),))
    if says is None:
        body.check_offers()
        return
    with pytest.raises(BadInput) as refusal:
        body.check_offers()
    assert says in str(refusal.value)
    assert "(High risk)" in str(refusal.value)
    assert "at least 5%" in str(refusal.value)


@given(st.floats(0.1, 0.9), st.floats(1, 50), st.sampled_from(["EUR", "JPY"]))
def test_limit_named_in_a_rejection_is_accepted(margin, face, currency):
    """Rounding must not make the limit invalid, also in yen."""
    line = a_line()
    dear = {
        "share": {"discount": 0.99},
        "money": {"discount": 0.0, "face": face, "min_order": face},
    }
    for kind, change in dear.items():
        body = a_body(margin=margin, currency=currency, offers=(line.model_copy(update=change),))
        with pytest.raises(BadInput) as refusal:
            body.check_offers()
        left, limit = re.findall(
            r"(?:leave|at most|from) [€¥]?([−-]?[0-9.,]+)(?:%| on)", str(refusal.value)
        )[-2:]
        named = float(limit.replace(",", ""))
        taken = {"discount": named / 100} if kind == "share" else {**change, "min_order": named}
        body.model_copy(update={"offers": (line.model_copy(update=taken),)}).check_offers()
        assert float(left.replace("−", "-").replace(",", "")) < 5


def test_cost_above_the_budget_is_shown_as_larger():
    body = a_body(budget=20.1)
    with pytest.raises(BadInput, match=re.escape("€20.40, above the budget of €20.10")):
        body.check_budget()


def test_offer_is_described_in_words():
    coupon = {"name": "A", "tiers": ("high",), "action": "coupon"}
    five = Rule(**coupon, amount=5.0, min_order=30.0)
    assert offer_terms.describe_rule(five) == "a coupon of 5.00 (from 30.00 on)"
    # What is promised is not rounded
    assert offer_terms.describe_rule(Rule(**coupon, discount=0.125)) == "a coupon of 12.5%"
    assert offer_terms.next_step(five, "GBP") == "£5.00 coupon"
    for rule in read_policy(DEFAULT).rules:
        assert offer_terms.describe_rule(rule)


def test_plan_uses_each_customers_uplift_from_past_campaigns():
    """A draft for customers with high uplift is large enough to measure."""
    size = {"audience": 1500, "tiers": {"high": 1500}}
    usual, own = (
        a_body(offers=(a_line(customers=1500, base=600.0, **uplift),), **size).plan()
        for uplift in ({}, {"uplift_buyers": 300.0, "uplift_sales": 1000.0})
    )
    assert own.smallest_effect == usual.smallest_effect
    assert usual.effect_high < own.smallest_effect < own.effect_high
    assert (own.effect, usual.effect) == (pytest.approx(0.2), pytest.approx(0.04))
    for plan in (own, usual):  # no less and no more sure than the prior
        assert plan.effect - plan.effect_low == pytest.approx(plan.effect_high - plan.effect)
    assert own.learnable
    assert not usual.learnable


@given(st.floats(0.05, 0.25), st.floats(0.1, 0.2), st.floats(0, 0.2), st.floats(0.001, 0.05))
def test_larger_discount_never_raises_profit_or_lowers_cost(discount, holdout, mean, sd):
    def plan(share):
        prior = Prior(mean=mean, sd=sd)
        return a_body(offers=(a_line(discount=share),), holdout=holdout, prior=prior).plan()

    cheap, dear = plan(discount), plan(discount + 0.05)
    assert dear.profit <= cheap.profit
    assert dear.cost >= cheap.cost
    assert cheap.profit_low <= cheap.profit <= cheap.profit_high


def _with_budget(policy, budget):
    campaign = policy.campaign.model_copy(update={"budget": budget})
    return policy.model_copy(update={"campaign": campaign})


@pytest.mark.parametrize("seed", range(8))
def test_affordable_count_agrees_with_the_plan(seed):
    """The hold-out is rounded per tier, so its share alone is not exact."""
    rng, policy = np.random.default_rng(seed), read_policy(DEFAULT)
    rules = [rule.name for rule in policy.rules if rule.action != "nothing"]
    customers = pd.DataFrame(
        {
            "churn_probability": rng.uniform(0.2, 0.9, 200),
            "expected_value": rng.gamma(2, 40, 200),
            "tier": rng.choice(["high", "medium", "low"], 200),
            "rule": rng.choice(rules, 200),
        }
    )
    if seed % 2:
        customers["uplift"] = rng.uniform(0, 0.1, 200)
    policy = _with_budget(policy, 40.0)
    paid = affordable_count(customers, policy, 0.04)

    def cost(many):
        return _body_of(customers.head(many), policy).plan().cost

    assert 0 < paid < 200
    assert cost(paid) <= 40 < cost(paid + 1)


def test_negative_uplift_does_not_stretch_the_budget():
    rng, policy = np.random.default_rng(0), read_policy(DEFAULT)
    rule = next(rule.name for rule in policy.rules if rule.discount)
    customers = pd.DataFrame({"expected_value": rng.gamma(2, 40, 200)})
    customers = customers.assign(churn_probability=0.5, tier="high", rule=rule)
    policy = _with_budget(policy, 40.0)
    none, driven_away = (
        affordable_count(customers.assign(uplift=each), policy, 0.04) for each in (0.0, -0.3)
    )
    assert 0 < driven_away == none < 200


@pytest.mark.parametrize("many", range(2, 60))
def test_rounding_does_not_exceed_a_fully_used_budget(many):
    policy = read_policy(DEFAULT)
    rule = next(rule.name for rule in policy.rules if rule.action == "reminder")
    tiers = ["high", "medium"] * (many // 2) + ["high"] * (many % 2)
    customers = pd.DataFrame({"tier": tiers})
    customers = customers.assign(churn_probability=0.5, expected_value=50.0, rule=rule)
    exact = round(_body_of(customers, policy).plan().cost, 12)
    paid = affordable_count(customers, _with_budget(policy, exact), 0.04)
    assert paid == many
    _body_of(customers.head(paid), policy).model_copy(update={"budget": exact}).check_budget()


def _body_of(customers, policy):
    return a_body(
        audience=len(customers),
        tiers={tier: int(n) for tier, n in customers["tier"].value_counts().items()},
        offers=offer_terms.offer_lines(customers, policy, {}),
        holdout=policy.campaign.holdout,
        redemption=policy.offer.redemption,
        contact_cost=policy.offer.contact_cost,
    )


def test_measured_campaigns_update_the_prior_unless_ratio_mismatch(database, settings):
    policy = read_policy(DEFAULT)

    def closed(campaign_id, error, believable=True):
        means = {"per_customer": 0.12, "treated_mean": 0.3, "control_mean": 0.18}
        result = {
            "effects": {"buyers": {**means, "standard_error": error, "variance_cut": 0.1}},
            "sample_ratio": {"believable": believable, "treated": 8500, "control": 1500},
            "simulated": {"visits_with_coupon": 0.5, "visits_with_reminder": 0.3},
        }
        return campaign(campaign_id, state="closed", result=result)

    assert read(database, prior_from_campaigns, policy, ()).mean == policy.offer.uplift
    add(database, closed("c1", 0.02), closed("c2", 0.02, believable=False), closed("c3", None))
    learnt = read(database, prior_from_campaigns, policy, ())
    assert learnt.campaigns == 1
    assert learnt.simulated
    assert learnt.mean == pytest.approx((policy.offer.uplift + 0.12) / 2)
    assert learnt.sd == pytest.approx(0.02 / 2**0.5)


def test_hold_out_without_buyers_does_not_dominate_the_prior(database, settings):
    policy = read_policy(DEFAULT)
    treated, control, bought = 180, 20, 10
    share = bought / treated
    effect = difference(
        np.arange(treated) < bought, np.zeros(control), np.zeros(treated), np.zeros(control)
    )
    # Of the arms together: an arm of naught has none
    assert effect.standard_error > policy.offer.uplift_sd
    learnt = _taught(database, settings, effect, treated, control)
    uplift = policy.offer.uplift
    assert uplift < learnt.mean < uplift + 0.25 * (share - uplift)
    assert learnt.sd > 0.9 * policy.offer.uplift_sd


def _taught(database, settings, effect, treated, control):
    """The prior after one campaign with that effect on the share of buyers."""
    ratio = sample_ratio(treated, control, treated / (treated + control))
    result = {"effects": {"buyers": asdict(effect)}, "sample_ratio": asdict(ratio)}
    add(database, campaign("c1", state="closed", result=result))
    return read(database, prior_from_campaigns, read_policy(DEFAULT), ())


@pytest.mark.parametrize(
    ("treated", "control", "regulars", "new"), [(180, 20, 3, 0), (500, 75, 8, 1)]
)
def test_few_regular_buyers_do_not_dominate_the_prior(
    database, settings, treated, control, regulars, new
):
    """Their past explains their purchases, so CUPED leaves no variance."""
    before, after = np.arange(treated) < regulars, np.arange(treated) < regulars + new
    effect = difference(after * 1.0, np.zeros(control), before * 1.0, np.zeros(control))
    assert effect.variance_cut > 0.85
    sizes = {treated: effect.treated_mean, control: effect.control_mean}
    shares = {size: (share * size + 1) / (size + 2) for size, share in sizes.items()}
    floor = sum(share * (1 - share) / (size + 2) for size, share in shares.items())
    usual = read_policy(DEFAULT).offer.uplift_sd
    learnt = _taught(database, settings, effect, treated, control)
    assert learnt.sd == pytest.approx((usual**-2 + 1 / floor) ** -0.5)


def test_cuped_lowers_the_error_bound_with_enough_buyers(database, settings):
    before = np.tile([1.0, 0.0, 0.0, 0.0], 40)
    # 33 of 120 treated buy, 11 of 40 held out
    after = np.where(np.arange(160) % 40 == 1, 1.0, before)
    effect = difference(after[:120], after[120:], before[:120], before[120:])
    learnt = _taught(database, settings, effect, 120, 40)
    assert learnt.sd == pytest.approx((0.02**-2 + 1 / effect.standard_error**2) ** -0.5, rel=0.05)


def test_empty_placeholders_leave_no_gaps():
    text = "Hello {name},\n\n{discount} off{conditions}: {code}\n\nPicked for you: {items}"
    told = {"discount": "10%", "conditions": " (only Tea)", "code": "AAAA"}
    assert fill_text(text, told).strip() == "Hello,\n\n10% off (only Tea): AAAA"
    told |= {"name": "Ann", "items": "Tea"}
    assert fill_text(text, told) == "Hello Ann,\n\n10% off (only Tea): AAAA\n\nPicked for you: Tea"


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        (
            "{name}, {discount} off with {code} until {expires}, perhaps on {items}",
            "Ann, 10% off with AAAA until Friday",
        ),
        (
            "Ask {name} how we did, and what was missing. Worth mentioning: {items}",
            "Ask Ann how we did, and what was missing.",
        ),
        ("Your code {code}: {items}", "Your code AAAA"),
        ("{discount} off {items}", "10% off"),
        ("With {items} {code} saves most", "With AAAA saves most"),
        ("Picked for you, perhaps: {items}", ""),
    ],
)
def test_line_without_items_keeps_its_other_text(line, reads):
    values = {"name": "Ann", "discount": "10%", "code": "AAAA", "expires": "Friday", "items": ""}
    assert fill_text(line, values) == reads


MALFORMED = "{nam}|{first name}|{{name}}|{ name }|{name|name}|{}|{name.__class__}|{name}}|{Name}"


@pytest.mark.parametrize("place", [*MALFORMED.split("|"), "{na-me}"])
def test_malformed_placeholders_are_rejected(place):
    with pytest.raises(
        BadInput, match=re.escape(f"has {place}, which means nothing here; use {{name}}")
    ):
        validate_text(f"{{code}} is yours\n{place}\nHello")
    assert validate_text("{name}{code}, {items}") == "{name}{code}, {items}"


def test_text_is_filled_in_and_never_evaluated():
    values = {"name": "{code} {{ 7*7 }}", "code": "AAAA", "discount": None}
    assert fill_text("Dear {name}: {code}{discount}", values) == "Dear {code} {{ 7*7 }}: AAAA"
    for action in ("coupon", "reminder", "free_shipping", "new_arrivals", "call"):
        assert validate_text(default_text(action)) == default_text(action)
    with pytest.raises(BadInput, match="2,000"):
        validate_text("x" * 2001)
