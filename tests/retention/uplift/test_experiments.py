"""From the lake's treatments to the next draft: what past campaigns teach, what they do not, and no look ahead."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention.campaigns.targeting import describe_targeting, select_by_profit
from retention.lake import Lake
from retention.lake.importing import import_files
from retention.risk.policy import DEFAULT, read_policy
from retention.uplift.experiments import Predicted, learn, past
from tests.shop import merged

SENT, WINDOW = datetime(2025, 5, 1, 9, tzinfo=UTC), 28
NOW = SENT + timedelta(days=60)
CUSTOMERS = 1200


def _shop(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Events, treatments, and who is easily moved: those who ordered often before; nobody else is moved at all."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"k{n:04d}" for n in range(CUSTOMERS)])
    often = rng.random(CUSTOMERS) < 0.5
    treated = rng.random(CUSTOMERS) < 0.7
    orders = np.where(often, rng.integers(5, 9, CUSTOMERS), 1)
    who = np.repeat(ids, orders)
    when = SENT - pd.to_timedelta(rng.uniform(1, 110, len(who)), unit="D")
    bought = rng.random(CUSTOMERS) < 0.2 + 0.45 * often * treated
    answers = SENT + pd.to_timedelta(rng.uniform(1, 25, bought.sum()), unit="D")
    events = pd.DataFrame(
        {
            "customer_id": np.concatenate([who, ids[bought]]),
            "occurred_at": [*when, *answers],
            "event_type": "purchase",
            "item_id": "i1",
            "amount": 20.0,
            "currency": "EUR",
            "source": "shop",
        }
    )
    events["order_id"] = [f"o{n}" for n in range(len(events))]
    treatments = pd.DataFrame(
        {
            "campaign_id": "c1",
            "customer_id": ids,
            "arm": np.where(treated, "treatment", "control"),
            "sent_at": SENT,
        }
    )
    return events, treatments, often


def _import(lake, database, settings, folder, name: str, table: str, frame: pd.DataFrame) -> None:
    path = folder / f"{name}.parquet"
    frame.to_parquet(path)
    import_files(lake, database, settings, table, [str(path)])


@pytest.fixture
def shop(settings, database, tmp_path):
    events, treatments, often = _shop()
    lake = Lake.open(settings)
    _import(lake, database, settings, tmp_path, "events", "events", events)
    lake.upsert("treatments", treatments)
    return lake, often


def test_a_past_campaign_teaches_whom_an_offer_moves_and_the_next_is_for_them(
    shop, settings, database, tmp_path
):
    lake, often = shop
    trial, kinds, campaigns = past(lake, NOW, window_days=WINDOW)
    assert (campaigns, len(trial.outcome), set(kinds)) == (1, CUSTOMERS, {""})
    assert trial.outcome.mean() == pytest.approx(0.36, abs=0.04)
    learnt = learn(lake, NOW, window_days=WINDOW)
    assert (learnt.why, describe_targeting(learnt).by) == ("learnt", "uplift")
    assert learnt.qini_low > 0
    assert 0 < learnt.slope <= 1
    ids = pd.Series([f"k{n:04d}" for n in range(CUSTOMERS)])
    predicted = learnt.predict(lake, ids, SENT, WINDOW).pooled
    assert predicted[often].mean() > predicted[~often].mean() + 0.2
    assert predicted.mean() == pytest.approx(0.22, abs=0.08)

    later = pd.DataFrame(
        {
            "customer_id": ids,
            "occurred_at": NOW + timedelta(hours=1),
            "event_type": "purchase",
            "item_id": "i1",
            "amount": 20.0,
            "currency": "EUR",
            "source": "shop",
            "order_id": [f"later{n}" for n in range(CUSTOMERS)],
        }
    )
    _import(lake, database, settings, tmp_path, "later", "events", later)
    again, _, _ = past(lake, NOW, window_days=WINDOW)
    np.testing.assert_array_equal(again.outcome, trial.outcome)
    pd.testing.assert_frame_equal(again.features, trial.features)


def test_who_was_in_both_arms_by_ids_merged_since_teaches_nothing(shop):
    """They were of the arm of whichever row was read first."""
    lake, _ = shop
    sent = lake.table("treatments").execute()
    treated, held_out = (
        list(sent.loc[sent["arm"] == arm, "customer_id"]) for arm in ("treatment", "control")
    )
    merged(lake, (treated[0], held_out[0]), (treated[1], treated[2]))
    trial, _, _ = past(lake, NOW, window_days=WINDOW)
    assert len(trial.outcome) == CUSTOMERS - 2 - 1
    assert trial.treated.sum() == len(treated) - 1 - 1


def test_without_a_hold_out_or_before_the_window_is_over_nothing_is_learnt(shop):
    lake, _ = shop
    assert learn(lake, SENT + timedelta(days=WINDOW - 1), window_days=WINDOW).why == "none"
    everybody = lake.table("treatments").execute().assign(arm="treatment")
    lake.upsert("treatments", everybody)
    nothing = learn(lake, NOW, window_days=WINDOW)
    assert (nothing.why, describe_targeting(nothing).by) == ("none", "risk")


def test_nothing_is_learnt_from_a_campaign_whose_orders_are_missing(shop):
    lake, _ = shop
    assert learn(lake, NOW, window_days=WINDOW, without={"c1"}).why == "none"


def test_too_few_or_an_effect_that_is_the_same_for_all_leaves_it_to_risk(shop):
    lake, _ = shop
    rows = lake.table("treatments").execute()
    rng = np.random.default_rng(4)
    lake.upsert("treatments", rows.assign(purchased=rng.random(len(rows)) < 0.3))
    assert learn(lake, NOW, window_days=WINDOW).why == "indistinct"
    few = rows.assign(campaign_id="c0", sent_at=SENT - timedelta(days=1)).head(60)
    lake.upsert("treatments", rows.assign(arm="treatment"))
    lake.upsert("treatments", few)
    assert learn(lake, NOW, window_days=WINDOW).why == "small"


def test_those_are_chosen_who_earn_most_under_budget_and_largest_audience():
    policy = read_policy(DEFAULT)
    rule = next(rule for rule in policy.rules if rule.action == "coupon")
    rng = np.random.default_rng(0)
    customers = pd.DataFrame(
        {
            "customer_id": [f"k{n}" for n in range(500)],
            "churn_probability": rng.uniform(0.3, 0.9, 500),
            "expected_value": rng.gamma(4, 20, 500),
            "rule": rule.name,
            "tier": "high",
        }
    )
    uplift = Predicted(rng.uniform(-0.1, 0.3, 500))
    free, unlimited = _chosen(customers, uplift, policy)
    assert 50 < len(free) < 500
    assert (free["uplift"] > 0).all()
    tight = policy.model_copy(
        update={"campaign": policy.campaign.model_copy(update={"max_audience": 20})}
    )
    few, excluded = _chosen(customers, uplift, tight)
    assert list(few["customer_id"]) == list(free["customer_id"][:20])
    assert excluded == {**unlimited, "beyond_maximum": len(free) - 20}
    broke = policy.model_copy(
        update={"campaign": policy.campaign.model_copy(update={"budget": 5.0})}
    )
    paid, excluded = _chosen(customers, uplift, broke)
    assert 0 < len(paid) < len(free)
    assert excluded == {
        **unlimited,
        "beyond_budget": len(free) - len(paid),
    }  # not one of them earns too little
    assert unlimited == {"no_gain": 500 - len(free), "beyond_maximum": 0, "beyond_budget": 0}


def test_nobody_is_expected_to_buy_with_more_than_certainty():
    """The choice knew that, and the plan did not: it promised profit from chances of 120 %."""
    policy = read_policy(DEFAULT)
    rule = next(rule for rule in policy.rules if rule.action == "coupon")
    customers = pd.DataFrame(
        {
            "customer_id": ["regular", "rare"],
            "churn_probability": [0.1, 0.9],
            "expected_value": 100.0,
            "rule": rule.name,
            "tier": rule.tiers[0],
        }
    )
    chosen, _ = _chosen(customers, Predicted(np.array([0.3, 0.3])), policy)
    assert dict(zip(chosen["customer_id"], chosen["uplift"], strict=True)) == {
        "regular": pytest.approx(0.1),
        "rare": pytest.approx(0.3),
    }


def _chosen(customers, uplift, policy):
    """Who are chosen, and how many are not, by reason."""
    made = select_by_profit(customers, uplift, policy, 0.4)
    return made.customers, made.excluded
