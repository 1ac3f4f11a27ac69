"""Tests of counterfactuals, LIME and reasons."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn import estimators
from retention.churn.explaining import facts
from retention.churn.explaining.clauses import clauses_of
from retention.churn.explaining.counterfactual import Counterfactual, _hypothetical_features
from retention.churn.explaining.explain import explain
from retention.churn.explaining.lime import SecondOpinion, second_opinion, top_groups
from retention.churn.explaining.reasons import complete_reasons, reasons
from retention.churn.score import score
from retention.churn.snapshots import take_snapshot
from retention.features import NAMES, build
from retention.window import Window
from tests import shop as tiny
from tests.retention.churn.models import fitted

WINDOW = Window(21, 42)


def tier_of(chance: float) -> str:
    return "high" if chance >= 0.4 else "medium" if chance >= 0.2 else "low"


@pytest.fixture(scope="module")
def people(shop):
    return take_snapshot(shop.lake, shop.end, window=Window(21, None), labelled=False)


@pytest.mark.nightly
def test_counterfactual_holds_once_the_order_is_imported(tmp_path, shop, trained):
    """Import the order into a separate shop and score again."""
    scores = score(trained, shop.lake, shop.end)[0].set_index("customer_id")
    for customer in scores.index[scores.churn_probability.between(0.2, 0.5)]:
        changes = explain(trained, shop.lake, shop.end, customer, tier_of=tier_of).counterfactuals
        change = changes[-1] if changes else None
        # not at the very edge of its tier
        if (
            change
            and change.orders == 1
            and tier_of(change.churn_probability + 0.02) == change.tier
        ):
            break
    else:
        pytest.fail("no customer has a counterfactual of one order")
    other = tiny.build(tmp_path / "home")
    events = tiny.frames()["events"]
    mine = events[(events.customer_id == customer) & (events.event_type == "purchase")]
    last = mine[mine.order_id == mine.sort_values("occurred_at").order_id.iloc[-1]]
    at = shop.end - timedelta(days=change.within_days + 0.5 if change.within_days else 1e-3)
    tiny.add(other, last.assign(order_id="new", occurred_at=at))
    again = score(trained, other.lake, shop.end)[0].set_index("customer_id").churn_probability
    assert tier_of(scores.churn_probability[customer]) != change.tier
    assert tier_of(again[customer]) == change.tier
    assert again[customer] == pytest.approx(change.churn_probability, abs=0.02)


def test_unchanged_copy_equals_the_customer(shop, people):
    customer = people.rows(np.arange(len(people.frame)) == 5)
    frame = _hypothetical_features(shop.lake, customer, [(), (2.5,), (2.5, 9.5)], 21)
    own, first, second = customer.frame.iloc[0], frame.iloc[1], frame.iloc[2]
    same = frame.iloc[0]
    for name in (*NAMES, "bg_no_purchase", "season_sin"):
        np.testing.assert_allclose(same[name], own[name], rtol=1e-6, err_msg=name)
    assert first.orders_all == own.orders_all + 1
    assert second.orders_all == own.orders_all + 2
    assert first.recency_days == pytest.approx(min(own.recency_days, 2.5), abs=1e-4)
    assert first.bg_no_purchase < own.bg_no_purchase
    untouched = build(shop.lake, shop.end, window=WINDOW).count().execute()
    assert untouched == (people.frame.recency_days <= 42).sum()


@pytest.mark.nightly
def test_no_counterfactuals_for_low_tier_or_unknown_customers(shop, trained):
    scores, _ = score(trained, shop.lake, shop.end)
    safest = scores.customer_id[scores.churn_probability.idxmin()]
    assert explain(trained, shop.lake, shop.end, safest, tier_of=tier_of).counterfactuals == ()
    assert explain(trained, shop.lake, shop.end, "nobody", tier_of=tier_of) is None
    hopeless = explain(trained, shop.lake, shop.end, safest, tier_of=lambda chance: "high")
    assert hopeless.counterfactuals == ()


def test_note_for_customers_silent_longer_than_training_data(shop, trained, people):
    frame = people.frame.set_index("customer_id").recency_days
    active = WINDOW.active_within_days
    silent, usual = frame.index[frame > active + 1][0], frame.index[frame < active - 1][0]
    note = explain(trained, shop.lake, shop.end, silent, tier_of=tier_of).as_dict()["note"]
    assert f"No order for {int(frame[silent])} days" in note  # as the reason beside it counts them
    assert f"within {active}" in note
    assert explain(trained, shop.lake, shop.end, usual, tier_of=tier_of).note == ""


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("medium", 1, 20, 0.3, True), "had they ordered within the last 20 days: medium"),
        (("low", 1, 1, 0.1, True), "had they ordered within the last 1 day: low"),
        (("low", 1, 0, 0.1), "had they ordered today: low"),
        (("low", 1, 28, 0.1), "with 1 more order in the last 28 days: low"),
        (("low", 2, 28, 0.1), "with 2 more orders in the last 28 days: low"),
    ],
)
def test_counterfactual_text(change, text):
    assert Counterfactual(*change).as_dict()["text"] == text


class Linear(estimators.LogOdds):
    """Log-odds that are linear in log-scaled features."""

    def decision_function(self, X):
        Z = estimators.signed_log(X)
        return 0.8 * Z[:, 0] - 0.5 * Z[:, 1] + 0.1 * Z[:, 2]


def test_lime_recovers_a_linear_model_with_full_fidelity(trained):
    rng = np.random.default_rng(1)
    columns = ("recency_days", "orders_all", "tenure_days")
    linear = replace(trained, model=Linear([1]), columns=columns, reference=np.zeros(3))
    others = np.exp(rng.normal(2, 0.8, size=(500, 3)))
    x = np.exp(np.array([3.5, 1.0, 2.0]))
    opinion = second_opinion(linear, x, others)
    z, mean = estimators.signed_log(x), estimators.signed_log(others).mean(axis=0)
    truth = np.array([0.8, -0.5, 0.1]) * (z - mean)
    got = [opinion.weights[group] for group in ("recency", "frequency", "tenure")]
    np.testing.assert_allclose(got, truth, atol=0.05)
    assert opinion.fidelity > 0.99
    assert opinion.agreement(dict(zip(("recency", "frequency", "tenure"), truth, strict=True))) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["tree", "boosting"])
def test_lime_fidelity_is_bounded_and_reproducible(shop, people, trained, name):
    X = people.matrix(trained.columns)
    y = (people.frame.recency_days > 14).to_numpy(dtype=float)
    model = replace(trained, model=fitted(name, X, y), estimator=name)
    first, second = second_opinion(model, X[3], X), second_opinion(model, X[3], X)
    assert 0 <= first.fidelity <= 1
    assert first == second
    assert all(np.isfinite(list(first.weights.values())))


def test_agreement_is_the_share_of_common_top_groups():
    opinion = SecondOpinion({"recency": 2.0, "spend": -1.0, "trend": 0.5, "habits": 0.1}, 0.9)
    assert top_groups(opinion.weights) == ["recency", "spend", "trend"]
    assert opinion.agreement({"recency": 1, "habits": -3, "tenure": 2}) == pytest.approx(1 / 3)
    assert opinion.as_dict({"recency": 1, "spend": 1, "trend": 1})["agreement"] == 1


def told(row, typical=None, **weights) -> list[dict]:
    """Return the reasons of one customer."""
    given = {group: np.array([weight]) for group, weight in weights.items()}
    (listed,) = reasons(pd.DataFrame([row]), given, typical=typical or {}, horizon_days=28)
    return listed


def test_reasons_show_the_typical_amount():
    own = {"orders_1h": 0.0, "orders_2h": 8.0, "orders_4h": 20.0, "orders_all": 30.0}
    own |= {"weekend_share": 0.14, "tenure_days": 40.2, "online_share": np.nan}
    typical = {"orders_1h": 3.0, "orders_2h": 7.0, "orders_4h": 12.0}
    typical |= {"weekend_share": 0.31, "tenure_days": 40.9}

    def texts(**weight: float) -> list[str]:
        return [reason["text"] for reason in told(own, typical, **weight)]

    assert texts(frequency=0.9, habits=0.5, tenure=0.1) == [
        "0 orders in the last 28 days (typical for the shop: 3)",
        "14% of the orders at weekends (typical for the shop: 31%)",
    ]  # and not "a customer for 40 days (typical for the shop: 40 days)"
    assert texts(frequency=-0.9) == ["20 orders in the last 112 days (typical for the shop: 12)"]
    del typical["orders_4h"]  # the model does not look at it
    assert texts(frequency=-0.9) == ["8 orders in the last 56 days (typical for the shop: 7)"]
    assert texts(channel=0.9) == []  # an unknown feature is no reason


@pytest.mark.parametrize(
    ("faster", "alone", "weight", "change"),
    [
        (0.57, 0.57, 0.9, "43% slower"),
        (1.3, 1.3, -0.9, "30% faster"),
        (1.3, 1.3, 0.9, None),  # the season says the contrary
        (0.97, 0.97, 0.9, None),
        (5.5, 1.3, -0.9, None),  # growth
        (5.5, 0.7, -0.9, None),
    ],
)
def test_season_reason_states_its_own_change_in_orders(faster, alone, weight, change):
    row = {"season_ahead": np.log(faster), "season_alone": np.log(alone)}
    text = f"the time of the year: repeat orders come {change} than in the 28 days before"
    expected = [text] if change else []
    assert [reason["text"] for reason in told(row, season=weight)] == expected
    assert len(clauses_of(facts.Customer(row, {}, 28), {"season": weight})) == len(expected)


def test_season_is_the_last_reason():
    """At Christmas it is the largest for nearly all customers and would hide individual reasons."""
    slow = {"season_ahead": -0.5, "season_alone": -0.4, "orders_1h": 1, "orders_2h": 4}
    slow |= {"tenure_days": 90.0}
    fast = slow | {"season_ahead": 0.5, "season_alone": 0.4, "orders_1h": 3}
    typical = {"tenure_days": 200}
    own = told(slow, typical, season=0.9, trend=0.3, tenure=0.4)
    alone = told(slow, typical, season=0.9, trend=0.0, tenure=0.0)
    against = told(fast, typical, season=-0.9, trend=-0.3, tenure=-0.1)
    assert [reason["feature"] for reason in own] == ["tenure", "trend", "season"]
    assert [reason["feature"] for reason in alone] == ["season"]
    completed = complete_reasons(alone, probability=0.8, churn_rate=0.9, horizon_days=28)
    assert [reason["feature"] for reason in completed] == ["other", "season", "other"]
    assert [reason["feature"] for reason in against] == ["trend", "tenure", "season"]
    assert {reason["direction"] for reason in own} == {"raises"}
    assert {reason["direction"] for reason in against} == {"lowers"}


@pytest.mark.parametrize(
    ("usual", "longest", "weight", "text"),
    [
        (6.2, 20.4, 0.9, "usually orders every 6 days; earlier pauses lasted up to 20"),
        (6.2, 6.4, -0.9, "usually orders every 6 days, and never paused for longer before"),
        (0.9, 1.2, -0.9, "usually orders every day, and never paused for longer before"),
    ],
)
def test_rhythm_reports_only_longer_pauses(usual, longest, weight, text):
    (reason,) = told({"gap_median": usual, "gap_max": longest}, rhythm=weight)
    assert reason["text"] == text


def test_silence_within_the_usual_gap_never_raises_the_risk():
    """Regression: "last order 49 days ago, usually every 238" was a cause of a high risk."""
    row = {"recency_days": 49.4, "gap_median": 238.0, "gap_max": 240.0}
    typical = {"recency_days": 20.0, "gap_median": 30.0}
    (up,), (down,) = (told(row, typical, recency=weight) for weight in (0.9, -0.9))
    assert up["text"] == "usually orders every 238 days (typical for the shop: every 30 days)"
    assert down["text"] == "last order 49 days ago, usually every 238 days"


LATE = {"recency_days": 43, "gap_median": 2, "gap_max": 60, "gap_last": 1, "rating_mean": 4}
LATE |= {"orders_1h": 0, "orders_2h": 4, "orders_4h": 4, "spend_2h": 1, "spend_4h": 9}
LATE |= {"overdue_share": 0.5, "regular_items": 4, "rating_last": 2}
EARLY = {"recency_days": 1, "gap_median": 7, "gap_max": 7, "gap_last": 9, "regular_items": 0}
USUAL = {"recency_days": 9, "gap_median": 4, "regular_items": 2}


@pytest.mark.parametrize(
    ("row", "raise_it", "lower_it"),
    [
        (
            LATE,
            "silent orders_change irregular spend_change overdue_items rating",
            "within_pauses orders_change usual_gap last_gap",
        ),
        (EARLY, "usual_gap last_gap no_regular_item", "on_time recent regular"),
        (
            {"recency_days": 43, "regular_items": 3, "overdue_share": 0},
            "only_order one_day",
            "overdue_items",
        ),
        ({"recency_days": 1}, "one_day", "only_order_recent recent"),
    ],
    ids=["late", "early", "one order", "new"],
)
def test_each_fact_supports_one_direction(row, raise_it, lower_it):
    customer = facts.Customer(row, USUAL, 28)
    for raises, codes in ((True, raise_it), (False, lower_it)):
        stated = [fact.state(customer, raises) for fact in facts.FACTS]
        assert sorted(each[0] for each in stated if each) == sorted(codes.split())


def test_group_without_a_supporting_fact_gives_no_reason():
    """The next group takes its place."""
    row = {"orders_1h": 5.0, "orders_2h": 6.0, "tenure_days": 40.0}
    (reason,) = told(row, {"tenure_days": 200.0}, trend=0.9, tenure=0.3)
    assert reason == {
        "feature": "tenure",
        "text": "a customer for 40 days (typical for the shop: 200 days)",
        "weight": 0.3,
        "direction": "raises",
    }


NUMBERS = {"days": 43, "usual": 2, "longest": 60, "typical": 9, "now": 1, "before": 4} | {
    "overdue": 1,
    "items": 4,
}
FACTS = {
    "silent": "no order for 43 days, usually every 2 days",
    "only_order": "no order for 43 days since the only one (typical for the shop: 9 days)",
    "within_pauses": "no order for 43 days; earlier pauses lasted up to 60",
    "recent": "last order 43 days ago (typical for the shop: 9 days)",
    "one_day": "ordered on one day only, so there is no rhythm yet",
    "orders_change": "1 order in the last 43 days, 4 in the 43 before",
    "spend_change": "spent 1 in the last 43 days, 4 in the 43 before",
    "overdue_items": "1 of 4 items bought regularly should have been bought again by now",
    "no_regular_item": "no item bought regularly in the last 43 days",
}
AMOUNTS = {
    "orders_1h": "2 orders in the last 7 days",
    "orders_2h": "2 orders in the last 14 days",
    "orders_4h": "2 orders in the last 28 days",
    "orders_all": "2 orders ever",
    "spend_2h": "spent 2 in the last 14 days",
    "spend_all": "spent 2 ever",
    "basket_mean": "spends 2 per order",
    "discount_share": "200% off on average in the last 28 days",
    "redemptions_4h": "2 coupons redeemed in the last 28 days",
    "items_4h": "2 different items in the last 28 days",
    "lines_per_order": "2.0 lines per order in the last 28 days",
    "weekend_share": "200% of the orders at weekends",
    "weekday_share": "200% of the orders on their favourite day of the week",
    "tenure_days": "a customer for 2 days",
    "regular_items": "2 items bought regularly in the last 28 days",
    "returns_4h": "2 returns in the last 28 days",
    "online_share": "200% of the orders online",
    "channels": "ordered through 2 channels",
    "views_1h": "2 page views in the last 7 days",
    "carts_1h": "2 items put into the cart in the last 7 days",
    "emails_1h": "2 e-mails opened or clicked in the last 7 days",
    "campaigns_4h": "2 campaigns received in the last 28 days",
    "rating_mean": "rates 2.0 on average",
    "support_4h": "2 contacts with support in the last 28 days",
    "contacts_lapsed": "200% of their close contacts did not order in the last 7 days",
    "complaints_30d": "2 complaints written in the last 30 days",
}


def test_facts_and_amounts_are_told_with_their_numbers_and_windows():
    assert {code: facts.fact_text(code, NUMBERS) for code in FACTS} == FACTS
    gap = facts.fact_text("last_gap", {"last": 30, "usual": 7})
    assert gap == "30 days between the last two orders, usually 7"
    new = facts.fact_text("only_order_recent", {"days": 0, "typical": 9})
    assert new == "the only order is less than a day old (typical for the shop: 9 days)"
    assert {name: amount.text_of(2.0, 3.0, 7) for name, amount in facts.AMOUNT_OF.items()} == {
        name: f"{text} (typical for the shop: {facts.AMOUNT_OF[name].number(3.0)})"
        for name, text in AMOUNTS.items()
    }
    more_raises = {name: amount.more_raises for name, amount in facts.AMOUNT_OF.items()}
    assert {name for name, raises in more_raises.items() if raises} == {
        *("returns_4h", "support_4h", "contacts_lapsed", "complaints_30d")
    }
    assert {name for name, raises in more_raises.items() if raises is None} == {
        *("basket_mean", "discount_share", "redemptions_4h", "weekend_share", "weekday_share"),
        *("tenure_days", "online_share", "channels", "campaigns_4h"),
    }


SEVERAL = "several small signs together, none of which stands out"


@pytest.mark.parametrize(
    ("probability", "raises", "lowers"),
    [
        (0.6, "70% of the shop's customers place no order within 28 days", SEVERAL),
        (0.8, SEVERAL, "30% of the shop's customers order again within 28 days"),
    ],
)
def test_every_customer_has_a_reason_in_both_directions(probability, raises, lowers):
    completed = complete_reasons([], probability=probability, churn_rate=0.7, horizon_days=28)
    texts = [(reason["direction"], reason["text"]) for reason in completed]
    assert texts == [("raises", raises), ("lowers", lowers)]


@pytest.mark.nightly
def test_snapshot_of_all_customers_is_shared_until_the_data_changes(tmp_path, trained, monkeypatch):
    taken = []

    def counted(*args, **kwargs):
        taken.append(args)
        return take_snapshot(*args, **kwargs)

    monkeypatch.setattr("retention.churn.population.take_snapshot", counted)
    shop = tiny.build(tmp_path / "home", customers=60, items=24, days=120)

    def explained(customer, at=shop.end):
        return explain(trained, shop.lake, at, customer, tier_of=tier_of)

    first, other = explained("c0003"), explained("c0040")
    assert len(taken) == 1
    assert other.score.customer_id == "c0040"
    assert explained("c0003").as_dict() == first.as_dict()
    explained("c0003", shop.end - timedelta(days=1))
    assert len(taken) == 2
    order = tiny.frames(customers=60, items=24, days=120)["events"]
    order = order[(order.customer_id == "c0003") & (order.event_type == "purchase")].tail(1)
    at = shop.end - timedelta(hours=1)
    tiny.add(shop, order.assign(event_id="later", order_id="later", occurred_at=at))
    again = explained("c0003")
    assert len(taken) == 3
    assert again.score.churn_probability != first.score.churn_probability
