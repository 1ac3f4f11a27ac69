"""Counterfactuals that come true when scored; LIME against a truth that is known."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn import estimators, score
from retention.churn.counterfactual import Counterfactual, _hypothetical_features
from retention.churn.explain import explain
from retention.churn.lime import SecondOpinion, second_opinion, top_groups
from retention.churn.reasons import reasons
from retention.churn.snapshots import take_snapshot
from retention.features import NAMES, build
from tests import shop as tiny

ARGS = {"horizon_days": 21, "active_within_days": 42}


def tier_of(chance: float) -> str:
    return "high" if chance >= 0.4 else "medium" if chance >= 0.2 else "low"


@pytest.fixture(scope="module")
def people(shop):
    return take_snapshot(
        shop.lake, shop.end, horizon_days=21, active_within_days=None, labelled=False
    )


def test_a_counterfactual_comes_true_when_the_order_is_really_there(tmp_path, shop, trained):
    """The order is put into a shop of its own, through the importer, and everything is scored anew."""
    from retention.lake.importing import import_files

    scores = score(trained, shop.lake, shop.end).set_index("customer_id")
    found = {}
    for customer in scores.index[scores.churn_probability.between(0.2, 0.5)]:
        changes = explain(trained, shop.lake, shop.end, customer, tier_of=tier_of).counterfactuals
        if (
            changes
            and changes[-1].orders == 1
            and tier_of(changes[-1].churn_probability + 0.02) == changes[-1].tier
        ):  # not at the very edge of its tier
            found[customer] = changes[-1]
            break
    assert found
    made = tiny.build(tmp_path / "home")
    events = tiny.frames()["events"]
    for customer, change in found.items():
        mine = events[(events.customer_id == customer) & (events.event_type == "purchase")]
        last = mine[mine.order_id == mine.sort_values("occurred_at").order_id.iloc[-1]]
        at = shop.end - timedelta(days=change.within_days + 0.5 if change.within_days else 1e-3)
        last.assign(order_id="new", occurred_at=at).to_parquet(tmp_path / "more.parquet")
        import_files(
            made.lake, made.database, made.settings, "events", [str(tmp_path / "more.parquet")]
        )
    again = score(trained, made.lake, shop.end).set_index("customer_id")
    for customer, change in found.items():
        assert tier_of(scores.churn_probability[customer]) != change.tier
        assert tier_of(again.churn_probability[customer]) == change.tier
        assert again.churn_probability[customer] == pytest.approx(
            change.churn_probability, abs=0.02
        )


def test_a_copy_without_a_change_is_the_customer(shop, people):
    one = people.rows(np.arange(len(people.frame)) == 5)
    frame = _hypothetical_features(shop.lake, one, [(), (2.5,), (2.5, 9.5)], 21)
    own, first, second = one.frame.iloc[0], frame.iloc[1], frame.iloc[2]
    same = frame.iloc[0]
    for name in (*NAMES, "bg_no_purchase", "season_sin"):
        np.testing.assert_allclose(same[name], own[name], rtol=1e-6, err_msg=name)
    assert first.orders_all == own.orders_all + 1
    assert second.orders_all == own.orders_all + 2
    assert first.recency_days == pytest.approx(min(own.recency_days, 2.5), abs=1e-4)
    assert first.bg_no_purchase < own.bg_no_purchase
    untouched = build(shop.lake, shop.end, **ARGS).count().execute()
    assert untouched == (people.frame.recency_days <= 42).sum()


def test_nothing_is_said_to_customers_of_the_lowest_tier_and_of_those_who_never_ordered(
    shop, trained
):
    scores = score(trained, shop.lake, shop.end)
    safest = scores.customer_id[scores.churn_probability.idxmin()]
    assert explain(trained, shop.lake, shop.end, safest, tier_of=tier_of).counterfactuals == ()
    assert explain(trained, shop.lake, shop.end, "nobody", tier_of=tier_of) is None
    hopeless = explain(trained, shop.lake, shop.end, safest, tier_of=lambda chance: "high")
    assert hopeless.counterfactuals == ()


def test_of_somebody_silent_for_longer_than_the_model_knows_it_is_said(shop, trained, people):
    frame = people.frame.set_index("customer_id").recency_days
    active = ARGS["active_within_days"]
    silent, usual = frame.index[frame > active + 1][0], frame.index[frame < active - 1][0]
    told = explain(trained, shop.lake, shop.end, silent, tier_of=tier_of).as_dict()["note"]
    assert f"No order for {int(frame[silent])} days" in told  # as the reason beside it counts them
    assert f"within {active}" in told
    assert explain(trained, shop.lake, shop.end, usual, tier_of=tier_of).note == ""


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            Counterfactual("medium", 1, 20, 0.3, True),
            "had they ordered within the last 20 days: medium",
        ),
        (Counterfactual("low", 1, 1, 0.1, True), "had they ordered within the last 1 day: low"),
        (Counterfactual("low", 1, 0, 0.1), "had they ordered today: low"),
        (Counterfactual("low", 1, 28, 0.1), "with 1 more order in the last 28 days: low"),
        (Counterfactual("low", 2, 28, 0.1), "with 2 more orders in the last 28 days: low"),
    ],
)
def test_it_is_said_in_one_phrase(change, text):
    assert change.text == text
    assert change.as_dict()["text"] == text


class Linear(estimators.LogOdds):
    """Log-odds that are a straight line in log-scaled features: LIME must find it."""

    def decision_function(self, X):
        Z = estimators.signed_log(X)
        return 0.8 * Z[:, 0] - 0.5 * Z[:, 1] + 0.1 * Z[:, 2]


def test_lime_finds_the_truth_of_a_linear_model_and_says_that_it_is_certain(trained):
    from dataclasses import replace

    rng = np.random.default_rng(1)
    columns = ("recency_days", "orders_all", "tenure_days")
    linear = replace(trained, model=Linear([1]), columns=columns, reference=np.zeros(3))
    others = np.exp(rng.normal(2, 0.8, size=(500, 3)))
    x = np.exp(np.array([3.5, 1.0, 2.0]))
    found = second_opinion(linear, x, others)
    z, mean = estimators.signed_log(x), estimators.signed_log(others).mean(axis=0)
    truth = np.array([0.8, -0.5, 0.1]) * (z - mean)
    got = [found.weights[group] for group in ("recency", "frequency", "tenure")]
    np.testing.assert_allclose(got, truth, atol=0.05)
    assert found.fidelity > 0.99
    assert found.agreement(dict(zip(("recency", "frequency", "tenure"), truth, strict=True))) == 1


@pytest.mark.parametrize("name", ["tree", "boosting"])
def test_lime_says_how_far_it_can_be_trusted(shop, people, trained, name):
    from dataclasses import replace

    X = people.matrix(trained.columns)
    y = (people.frame.recency_days > 14).to_numpy(dtype=float)
    model = replace(trained, model=estimators.fit(name, X, y), estimator=name)
    one, again = second_opinion(model, X[3], X), second_opinion(model, X[3], X)
    assert 0 <= one.fidelity <= 1
    assert one == again
    assert all(np.isfinite(list(one.weights.values())))


def test_agreement_is_the_share_of_the_heaviest_groups_in_common():
    one = SecondOpinion({"recency": 2.0, "spend": -1.0, "trend": 0.5, "habits": 0.1}, 0.9)
    assert top_groups(one.weights) == ["recency", "spend", "trend"]
    assert one.agreement({"recency": 1, "habits": -3, "tenure": 2}) == pytest.approx(1 / 3)
    assert one.as_dict({"recency": 1, "spend": 1, "trend": 1})["agreement"] == 1


def test_an_amount_stands_beside_the_typical_one():
    own = {
        "orders_1h": 0.0,
        "orders_2h": 8.0,
        "orders_4h": 20.0,
        "weekend_share": 0.14,
        "tenure_days": 40.2,
        "online_share": np.nan,
    }
    typical = {
        "orders_1h": 3.0,
        "orders_2h": 7.0,
        "orders_4h": 12.0,
        "weekend_share": 0.31,
        "tenure_days": 40.9,
    }

    def texts(**weight: float) -> list[str]:
        weights = {group: np.array([one]) for group, one in weight.items()}
        (found,) = reasons(pd.DataFrame([own]), weights, typical=typical, horizon_days=28)
        return [reason["text"] for reason in found]

    assert texts(frequency=0.9, habits=0.5, tenure=0.1) == [
        "0 orders in the last 28 days (typical: 3)",
        "14 % of the orders at weekends (typical: 31 %)",
        "a customer for 40 days",
    ]
    assert texts(frequency=-0.9) == ["20 orders in the last 112 days (typical: 12)"]
    del typical["orders_4h"]  # the model does not look at it
    assert texts(frequency=-0.9) == ["8 orders in the last 56 days (typical: 7)"]
    assert texts(channel=0.9) == ["an unknown share of the orders online"]


@pytest.mark.parametrize(
    ("faster", "weight", "text"),
    [
        (
            0.57,
            0.9,
            "the time of the year: repeat orders come 43 % slower than in the 28 days before",
        ),
        (
            1.3,
            -0.9,
            "the time of the year: repeat orders come 30 % faster than in the 28 days before",
        ),
        (1.3, 0.9, "the time of the year"),  # not for that
        (0.97, 0.9, "the time of the year"),
    ],
)
def test_the_time_of_the_year_says_what_it_does_to_orders(faster, weight, text):
    """At Christmas it is the first reason of most customers, and said nothing that anybody could check."""
    row = pd.DataFrame([{"season_ahead": np.log(faster)}])
    ((found,),) = reasons(row, {"season": np.array([weight])}, typical={}, horizon_days=28)
    assert found["text"] == text


def test_the_time_of_the_year_stands_after_what_is_the_customers_own():
    """At Christmas it was the heaviest for nearly everybody: cohorts told nothing else, and drafts treated all alike."""
    row = pd.DataFrame(
        [{"season_ahead": -0.5, "orders_1h": 1, "orders_2h": 4, "tenure_days": 90.0}] * 3
    )
    weight = {
        "season": np.array([0.9, 0.9, -0.9]),
        "trend": np.array([0.3, 0.0, -0.3]),
        "tenure": np.array([0.4, 0.0, -0.1]),
    }
    own, alone, against = reasons(row, weight, typical={}, horizon_days=28)
    assert [one["feature"] for one in own] == ["tenure", "trend", "season"]
    assert [one["feature"] for one in alone] == ["season"]
    assert [one["feature"] for one in against] == ["trend", "tenure", "season"]


@pytest.mark.parametrize(
    ("usual", "longest", "text"),
    [
        (6.2, 20.4, "usually orders every 6 days, but has paused for up to 20"),
        (6.2, 6.4, "usually orders every 6 days, and never paused for longer before"),
        (0.9, 1.2, "usually orders every day, and never paused for longer before"),
    ],
)
def test_a_rhythm_has_a_longest_pause_only_where_it_is_longer(usual, longest, text):
    row = pd.DataFrame([{"gap_median": usual, "gap_max": longest}])
    ((found,),) = reasons(row, {"rhythm": np.array([0.9])}, typical={}, horizon_days=28)
    assert found["text"] == text
