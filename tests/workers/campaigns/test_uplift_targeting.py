"""Test a draft that learns from past campaigns with known uplift."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention import clock
from retention.db.tables import RoleGrant
from retention.lake import Lake
from retention.settings import Settings
from retention.uplift import evaluation
from retention.uplift.learners import LEARNERS
from tests.benchmarks import simulate
from tests.shop import BEGIN
from tests.workers.campaigns.desk import ANALYST, Desk
from tests.world import add

PAST, NEXT, HOLDOUT = 2400, 1000, 0.4
# Two campaigns, each to half of the people
SENT = (BEGIN + timedelta(days=120), BEGIN + timedelta(days=124))
NOW = BEGIN + timedelta(days=190)  # by then none of them is active any more; others are
AUDIENCE = 300
POLICY = f"""
[campaign]
max_audience = {AUDIENCE}
frequency_cap_days = 0
[offer]
margin = 0.35
redemption = 0.5
items = 0
[[rules]]
name = "All"
tiers = ["high", "medium", "low"]
action = "coupon"
discount = 0.1
"""


def _people() -> simulate.Customers:
    """Make `PAST` and `NEXT` people; uplift grows with a liking of offers, falls with silence."""
    return simulate.customers(np.random.default_rng(3), PAST + NEXT, lapsing=-0.03)


def _tables(people: simulate.Customers) -> dict[str, pd.DataFrame]:
    """Write orders until the campaign or now, and the groups and outcomes of past campaigns."""
    rng = np.random.default_rng(5)
    number = len(people.features)
    ids = np.array([f"k{n:04d}" for n in range(number)])
    half = rng.integers(0, 2, number)
    until = pd.Series([NOW if n >= PAST else SENT[half[n]] for n in range(number)])
    recorded = people.features.assign(
        customer_id=ids, until=until, recency=people.features["recency"].clip(1, 50)
    )
    lines = recorded.loc[recorded.index.repeat(recorded["frequency"])].reset_index(drop=True)
    back = lines["recency"] + rng.uniform(1, 60, len(lines)) * lines.duplicated("customer_id")
    discounted = rng.random(len(lines)) < lines["offers"]
    treated = rng.random(number) >= HOLDOUT
    return {
        "events": pd.DataFrame(
            {
                "customer_id": lines["customer_id"],
                "order_id": [f"o{n}" for n in range(len(lines))],
                "occurred_at": lines["until"] - pd.to_timedelta(back, unit="D"),
                "event_type": "purchase",
                "item_id": "i1",
                "amount": lines["spend"],
                "currency": "EUR",
                "source": "shop",
                "discount": np.where(discounted, 0.15 * lines["spend"], 0.0),
            }
        ),
        "customers": pd.DataFrame({"customer_id": ids, "marketing_consent": True}),
        "treatments": pd.DataFrame(
            {
                "campaign_id": np.array(["past1", "past2"])[half],
                "customer_id": ids,
                "sent_at": until,
                "arm": np.where(treated, "treatment", "control"),
                "purchased": rng.random(number) < people.stays + treated * people.uplift,
            }
        ).head(PAST),
    }


@pytest.fixture
def few_learners(monkeypatch):
    """Compare only the default learner and those of the sequential validation, to save time."""
    names = ("effect_modelling", "risk_modelling", "s_logistic")
    monkeypatch.setattr(evaluation, "LEARNERS", {name: LEARNERS[name] for name in names})


@pytest.fixture
def desk(tmp_path, database, few_learners):
    home = database and tmp_path / "home"
    (home / "policy.toml").write_text(POLICY)
    settings = Settings(home=home, admins="U0ADMIN", policy=home / "policy.toml", _env_file=None)
    add(database, RoleGrant(user_id=ANALYST, role="analyst", granted_by="U0ADMIN"))
    desk = Desk(settings, database, Lake.open(settings), BEGIN, NOW)
    for table, frame in _tables(_people()).items():
        desk.bring_table(table, frame)
    clock.configure(fixed=NOW)
    return desk


def _audience(desk, campaign_id: str) -> list[int]:
    """The people drafted for, as places among the generator's."""
    return [int(customer.removeprefix("k")) for customer in desk.offers(campaign_id)]


@pytest.mark.nightly
def test_draft_targets_uplift_not_risk(desk):
    truth, learnt = _people().uplift, desk.drafted(name="Persuadable")
    shown = desk.body(learnt).targeting
    assert (shown.by, shown.why, shown.campaigns, shown.customers) == ("uplift", "learnt", 2, PAST)
    assert shown.qini_low > 0
    assert "Chosen by expected profit" in desk.details(learnt)

    # As if nobody had been held out
    forgotten = desk.table("treatments").assign(arm="treatment")
    desk.lake.upsert("treatments", forgotten)
    by_risk = desk.drafted(name="At risk")
    assert desk.body(by_risk).targeting.by == "risk"
    persuadable, at_risk = (_audience(desk, item) for item in (learnt, by_risk))
    assert len(at_risk) == len(persuadable) == AUDIENCE
    assert truth[persuadable].mean() > max(truth[at_risk].mean() + 0.05, truth[PAST:].mean() + 0.01)
