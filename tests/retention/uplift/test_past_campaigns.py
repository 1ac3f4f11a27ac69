"""Test uplift models fitted on past campaigns in the lake."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention.campaigns.planning.targeting import describe_targeting, select_by_profit
from retention.risk.policy import DEFAULT, read_policy
from retention.uplift.past_campaigns import UpliftPrediction, fit_uplift, load_campaigns
from tests import readonly
from tests.retention.recommend.small_shop import SmallShop, bring, make_shop
from tests.shop import merged

SENT, WINDOW = datetime(2025, 5, 1, 9, tzinfo=UTC), 28
NOW = SENT + timedelta(days=60)
CUSTOMERS = 1200


def _shop(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Simulate events and treatments; only customers who ordered often are moved."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"k{n:04d}" for n in range(CUSTOMERS)])
    ordered_often = rng.random(CUSTOMERS) < 0.5
    treated = rng.random(CUSTOMERS) < 0.7
    orders = np.where(ordered_often, rng.integers(5, 9, CUSTOMERS), 1)
    customer = np.repeat(ids, orders)
    ordered_at = SENT - pd.to_timedelta(rng.uniform(1, 110, len(customer)), unit="D")
    bought = rng.random(CUSTOMERS) < 0.2 + 0.45 * ordered_often * treated
    later_orders = SENT + pd.to_timedelta(rng.uniform(1, 25, bought.sum()), unit="D")
    events = _orders(np.concatenate([customer, ids[bought]]), [*ordered_at, *later_orders], "o")
    treatments = pd.DataFrame(
        {
            "campaign_id": "c1",
            "customer_id": ids,
            "arm": np.where(treated, "treatment", "control"),
            "sent_at": SENT,
        }
    )
    return events, treatments, ordered_often


def _orders(customers, at, prefix: str) -> pd.DataFrame:
    frame = pd.DataFrame({"customer_id": customers, "occurred_at": at})
    frame["order_id"] = [f"{prefix}{n}" for n in range(len(frame))]
    return frame.assign(event_type="purchase", item_id="i1", amount=20.0, currency="EUR")


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """A shop with one campaign, and who ordered often."""
    events, treatments, often = _shop()
    shop = make_shop(tmp_path_factory.mktemp("past"), [], [])
    bring(shop, "events", events)
    shop.lake.upsert("treatments", treatments)
    with readonly.shared(shop) as shared:
        yield shared, often


@pytest.fixture
def shop(past, tmp_path) -> SmallShop:
    """A writable copy of it."""
    copy = readonly.copy_of(past[0], tmp_path / "copy")
    yield copy
    copy.database.dispose()


@pytest.mark.nightly
def test_past_campaign_teaches_responsive_customers(past, shop):
    lake, ordered_often = shop.lake, past[1]
    trial, kinds, campaigns = load_campaigns(lake, NOW, window_days=WINDOW)
    assert (campaigns, len(trial.outcome), set(kinds)) == (1, CUSTOMERS, {""})
    assert trial.outcome.mean() == pytest.approx(0.36, abs=0.04)
    model = fit_uplift(lake, NOW, window_days=WINDOW)
    assert (model.why, describe_targeting(model).by) == ("learnt", "uplift")
    assert model.qini_low > 0
    assert 0 < model.slope <= 1
    ids = pd.Series([f"k{n:04d}" for n in range(CUSTOMERS)])
    predicted = model.predict(lake, ids, SENT, WINDOW).pooled
    assert predicted[ordered_often].mean() > predicted[~ordered_often].mean() + 0.2
    assert predicted.mean() == pytest.approx(0.22, abs=0.08)

    bring(shop, "events", _orders(ids, NOW + timedelta(hours=1), "later"))
    reloaded, _, _ = load_campaigns(lake, NOW, window_days=WINDOW)
    np.testing.assert_array_equal(reloaded.outcome, trial.outcome)
    pd.testing.assert_frame_equal(reloaded.features, trial.features)


def test_customers_in_both_arms_after_a_merge_are_excluded(shop):
    """Their arm would depend on the order of rows."""
    lake = shop.lake
    sent = lake.table("treatments").execute()
    treated, held_out = (
        list(sent.loc[sent["arm"] == arm, "customer_id"]) for arm in ("treatment", "control")
    )
    merged(lake, (treated[0], held_out[0]), (treated[1], treated[2]))
    trial, _, _ = load_campaigns(lake, NOW, window_days=WINDOW)
    assert len(trial.outcome) == CUSTOMERS - 2 - 1
    assert trial.treated.sum() == len(treated) - 1 - 1


def test_no_model_without_hold_out_or_before_window_end(shop):
    lake = shop.lake
    assert fit_uplift(lake, SENT + timedelta(days=WINDOW - 1), window_days=WINDOW).why == "none"
    all_treated = lake.table("treatments").execute().assign(arm="treatment")
    lake.upsert("treatments", all_treated)
    model = fit_uplift(lake, NOW, window_days=WINDOW)
    assert (model.why, describe_targeting(model).by) == ("none", "risk")


def test_excluded_campaigns_teach_nothing(past):
    lake = past[0].lake
    assert fit_uplift(lake, NOW, window_days=WINDOW, excluded={"c1"}).why == "none"


def test_small_or_uniform_campaigns_give_no_model(shop):
    lake = shop.lake
    rows = lake.table("treatments").execute()
    rng = np.random.default_rng(4)
    lake.upsert("treatments", rows.assign(purchased=rng.random(len(rows)) < 0.3))
    assert fit_uplift(lake, NOW, window_days=WINDOW).why == "indistinct"
    few = rows.assign(campaign_id="c0", sent_at=SENT - timedelta(days=1)).head(60)
    lake.upsert("treatments", rows.assign(arm="treatment"))
    lake.upsert("treatments", few)
    assert fit_uplift(lake, NOW, window_days=WINDOW).why == "small"


POLICY = read_policy(DEFAULT)
COUPON = next(rule for rule in POLICY.rules if rule.action == "coupon")


def _chosen(churn_probability, value, uplift, **limits):
    """Choose under other limits of a campaign; return the customers, and the others by reason."""
    customers = pd.DataFrame({"churn_probability": churn_probability, "expected_value": value})
    customers["customer_id"] = [f"k{n}" for n in range(len(customers))]
    campaign = POLICY.campaign.model_copy(update=limits)
    policy = POLICY.model_copy(update={"campaign": campaign})
    people = customers.assign(rule=COUPON.name, tier=COUPON.tiers[0])
    audience = select_by_profit(people, UpliftPrediction(np.asarray(uplift)), policy, 0.4)
    return audience.customers, audience.excluded


def test_most_profitable_customers_are_chosen_within_limits():
    rng = np.random.default_rng(0)
    people = rng.uniform(0.3, 0.9, 500), rng.gamma(4, 20, 500), rng.uniform(-0.1, 0.3, 500)
    free, unlimited = _chosen(*people)
    assert 50 < len(free) < 500
    assert (free["uplift"] > 0).all()
    few, excluded = _chosen(*people, max_audience=20)
    assert list(few["customer_id"]) == list(free["customer_id"][:20])
    assert excluded == {**unlimited, "beyond_maximum": len(free) - 20}
    paid, excluded = _chosen(*people, budget=5.0)
    assert 0 < len(paid) < len(free)
    # None of them earns too little.
    assert excluded == {**unlimited, "beyond_budget": len(free) - len(paid)}
    assert unlimited == {"no_gain": 500 - len(free), "beyond_maximum": 0, "beyond_budget": 0}


def test_order_probability_is_at_most_one():
    """The plan must not promise profit from probabilities above 1."""
    chosen, _ = _chosen([0.1, 0.9], 100.0, [0.3, 0.3])
    uplift = dict(zip(chosen["customer_id"], chosen["uplift"], strict=True))
    assert uplift == pytest.approx({"k0": 0.1, "k1": 0.3})
