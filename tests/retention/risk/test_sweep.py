import json
from dataclasses import replace
from datetime import timedelta
from functools import cache
from types import SimpleNamespace

import pandas as pd
import pytest

from retention.churn.lost_margin import list_size
from retention.churn.model import train
from retention.errors import TooLittleData
from retention.reports.charts import tier_bar
from retention.risk import rules
from retention.risk.policy import Policy, Tiers, thresholds, tier_of, tiers_of
from retention.risk.reasons import LISTED, stored_sentence
from retention.risk.sweep import order_of, sweep
from retention.templating import RAISES
from retention.window import Window
from tests import shop as tiny
from tests import shops


@pytest.fixture(scope="module")
def swept(shop):
    """Return the sweep by rules of a tier, each made once."""
    return cache(lambda tier=None: sweep(shop.lake, None, Policy(), as_of=shop.end, tier=tier))


@pytest.fixture(scope="module")
def result(swept):
    """The sweep by rules."""
    return swept()


def test_threshold_belongs_to_the_higher_tier():
    tiers = [tier_of(p, Tiers()) for p in (0.5, 0.4999, 0.25, 0.2499)]
    assert tiers == ["high", "medium", "medium", "low"]


@pytest.mark.parametrize("with_model", [pytest.param(True, marks=pytest.mark.nightly), False])
def test_sweep_totals_are_consistent(shop, with_model):
    model = None
    if with_model:
        model = train(shop.lake, cutoff=shop.end, model="logistic", window=Window(21, 42))
    result = sweep(shop.lake, model, Policy(), as_of=shop.end, tier="medium")
    data = result.as_dict(top=3)
    assert sum(data["tiers"].values()) == data["customers"] == len(result.scores)
    assert set(result.cohort.tier) <= {"high", "medium"}
    assert len(result.cohort) == data["tiers"]["high"] + data["tiers"]["medium"]
    at_stake = result.cohort.churn_probability * result.cohort.expected_value
    assert data["revenue_at_risk"] == pytest.approx(at_stake.sum(), abs=0.01)
    assert result.cohort.lost_margin.is_monotonic_decreasing
    assert len(data["cohort"]) == 3
    fields = {"customer_id", "churn_probability", "times_average", "tier", "expected_value"}
    assert set(data["cohort"][0]) == fields | {"lost_margin", "reasons", "sentence"}
    probabilities = result.scores.churn_probability.to_numpy()
    assert list(result.scores.tier) == list(tiers_of(probabilities, thresholds(Policy(), model)))
    assert tier_bar(result.tiers).startswith(b"\x89PNG")


def test_stored_reasons_give_the_sentence_of_the_list(swept):
    result = swept("medium")
    scores = result.with_reasons(result.scores).set_index("customer_id")
    stored = json.loads(json.dumps(scores.reasons.to_dict()))
    for listed in result.as_dict()["cohort"]:
        own = stored[listed["customer_id"]]
        assert stored_sentence(own, listed["tier"]) == listed["sentence"]
        assert not any("clauses" in reason for reason in listed["reasons"])
    without = [{k: v for k, v in reason.items() if k != "clauses"} for reason in own]
    assert stored_sentence(without, listed["tier"]).startswith(("raises the", "lowers the"))


def test_list_of_any_tier_tells_what_raises_the_risk(result):
    stored = result.with_reasons(result.scores).set_index("customer_id").reasons
    assert (result.cohort.tier == "low").any()
    for customer in result.cohort.itertuples():
        assert {reason["direction"] for reason in customer.reasons} <= {RAISES}
        assert customer.clauses[0].direction == RAISES
        assert stored_sentence(stored[customer.customer_id], LISTED) == customer.sentence


def test_without_prices_the_cohort_is_ranked_by_lost_order_days(tmp_path):
    events = tiny.frames(customers=60, days=80)["events"].drop(columns="amount")
    lake = shops.lake(tmp_path, events)
    result = sweep(lake, None, Policy(), as_of=tiny.BEGIN + timedelta(days=80), tier="low")
    assert result.cohort.expected_value.max() == 0
    assert result.cohort.lost_spend.is_monotonic_decreasing
    assert {row["lost_margin"] for row in result.as_dict()["cohort"]} == {None}


def test_sweep_without_a_model_uses_rules_and_notes_it(shop, result):
    assert result.model_version == "rules"
    assert "no model yet" in result.rung
    early = sweep(shop.lake, None, Policy(), as_of=shop.begin + timedelta(days=20))
    assert "a model needs 100 buyers (have" in early.rung


def test_rules_reason_uses_singular_for_one_order(shop):
    scores, *_ = rules.score(shop.lake, shop.begin + timedelta(days=20))
    told = {(each["feature"], each["text"]) for reasons in scores.reasons for each in reasons}
    assert ("frequency", "1 order ever, and 61% of the active customers have more") in told


@pytest.mark.nightly
def test_rules_score_of_one_customer_equals_the_sweep(shop):
    swept, *_ = rules.score(shop.lake, shop.end)
    for at in (0, len(swept) // 2, -1):
        row = swept.iloc[at]
        scores, *_ = rules.score(shop.lake, shop.end, customer_ids=[row.customer_id])
        assert scores.iloc[0].to_dict() == row.to_dict()
    everyone, *_ = rules.score(shop.lake, shop.end, window=Window(active_within_days=None))
    silent = everyone[~everyone.customer_id.isin(swept.customer_id)].customer_id
    lapsed, *_ = rules.score(shop.lake, shop.end, customer_ids=silent)
    assert len(lapsed) == len(silent) > 0
    assert lapsed.churn_probability.min() >= Tiers().high
    assert rules.score(shop.lake, shop.end, customer_ids=["nobody"])[0].empty


def test_sweep_without_active_customers_is_an_error(shop):
    with pytest.raises(TooLittleData, match="Nobody ordered in the 56 days"):
        sweep(shop.lake, None, Policy(), as_of=shop.end + timedelta(days=400))


def test_list_has_the_stated_number_of_customers_whatever_their_tier(result):
    assert result.cohort_tiers == ()
    assert len(result.cohort) == result.list_size == int(0.15 * len(result.scores))
    assert result.cohort.lost_margin.is_monotonic_decreasing
    at_risk = result.scores[result.scores.churn_probability >= 0.5 * result.average]
    largest = at_risk.lost_margin.nlargest(result.list_size + 1)
    assert result.cohort.lost_margin.min() >= largest.iloc[-1]
    assert result.extreme == ""


@pytest.mark.parametrize("tier", [None, "medium", "lapsed"])
def test_order_by_spend_keeps_the_customers_of_the_list(swept, tier):
    usual = swept(tier)
    by_spend = usual.by_spend()
    assert set(by_spend.cohort.customer_id) == set(usual.cohort.customer_id)
    assert by_spend.cohort.expected_value.is_monotonic_decreasing
    assert by_spend.order_by == "spend"


def test_stored_scores_know_the_places_of_the_list(result):
    (stored, _) = result.stored_parts()
    stored = stored.dropna(subset="list_rank").sort_values("list_rank")
    assert list(stored.customer_id) == list(result.cohort.customer_id)


def test_list_of_an_audience_is_chosen_among_its_customers(result):
    others = set(result.scores.customer_id) - set(result.cohort.customer_id)
    own = result.restricted_to(others)
    assert len(own.cohort) == result.list_size
    assert set(own.cohort.customer_id) <= others
    few = result.restricted_to(sorted(others)[:3])
    assert sorted(few.cohort.customer_id) == sorted(others)[:3]


def test_safe_customers_come_last_however_much_they_spend(result):
    is_safe = result.scores.churn_probability < 0.5 * result.average
    listed = result.scores.list_rank.notna()
    assert is_safe.any()
    assert listed.any()
    assert not (is_safe & listed).any()  # the others suffice
    assert result.scores[is_safe].lost_margin.max() > result.cohort.lost_margin.min()


def test_groups_add_up_to_everyone_who_ever_ordered(shop, result):
    events = shop.lake.table("events").execute()
    buyers = set(events[events.event_type == "purchase"].customer_id)
    assert sum(result.groups.values()) == len(buyers)
    assert set(result.scores.customer_id) | set(result.lapsed.customer_id) == buyers


def test_stated_size_of_the_list_is_kept_and_the_lapsed_list_has_its_own(shop):
    """The lapsed list was cut at the number of active customers."""
    result = sweep(shop.lake, None, Policy(list={"customers": 3}), as_of=shop.end)
    assert len(result.cohort) == 3
    few = replace(result, lapsed=pd.concat([result.lapsed] * 3), scores=result.scores.head(2))
    assert len(few.of_lapsed(Policy()).cohort) == list_size(3 * len(result.lapsed))
    assert len(result.of_lapsed(Policy(list={"customers": 3})).cohort) == 3


def test_ranks_and_lapsed_customers_are_not_compared_with_an_average(result):
    for listed in (result.as_dict(), result.of_lapsed(Policy()).as_dict()):
        assert listed["average"] is None
        assert {customer["times_average"] for customer in listed["cohort"]} == {None}
        assert all(customer["lost_margin"] >= 0 for customer in listed["cohort"])
    by_model = replace(result, model_version="churn-1", average=0.25)
    first = by_model.as_dict()["cohort"][0]
    assert first["times_average"] == pytest.approx(4 * first["churn_probability"], abs=0.01)


def test_lapsed_list_begins_with_the_most_likely_spend_of_those_who_return(swept):
    result = swept("lapsed")
    assert len(result.cohort) == result.list_size
    assert set(result.cohort.tier) == {"lapsed"}
    worth = (1 - result.cohort.churn_probability) * result.cohort.expected_value
    assert worth.is_monotonic_decreasing
    assert result.cohort.sentence.str.len().min() > 0
    assert not set(result.cohort.customer_id) & set(result.scores.customer_id)


@pytest.mark.parametrize(
    ("chances", "order"),
    [((0.95, 0.9), "return_value"), ((0.02, 0.05), "rhythm"), ((0.9, 0.1), "lost_margin")],
)
def test_order_follows_how_many_leave(chances, order):
    assert order_of(pd.DataFrame({"churn_probability": chances})) == order


def test_stated_tiers_win_over_those_of_the_model():
    trained = SimpleNamespace(parameters={"tiers": {"high": 0.8, "medium": 0.6}})
    before = SimpleNamespace(parameters={})
    assert thresholds(Policy(), trained) == Tiers(high=0.8, medium=0.6)
    assert thresholds(Policy(), before) == thresholds(Policy(), None) == Tiers()
    stated = Policy(tiers=Tiers(high=0.7, medium=0.4))
    assert thresholds(stated, trained) == Tiers(high=0.7, medium=0.4)


def test_list_of_nobody_is_empty(result):
    nobody = result.restricted_to(())
    assert nobody.cohort.empty
    assert not list(nobody.stored_parts())
    assert nobody.as_dict()["revenue_at_risk"] == 0
