"""What `evaluate churn` tells beside the contract's figures."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.churn import evaluate
from retention.churn.metrics import (
    brier_decomposition,
    ece,
    ece_by_chance,
    lift_curve,
    metrics,
    top_decile_lift,
)
from retention.churn.segments import customer_attributes
from retention.churn.uncertainty import metric_intervals
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing import import_files
from retention.settings import Settings

ARGS = {"horizon_days": 21, "active_within_days": 42, "model": "rfm_logistic"}


@pytest.fixture(scope="module")
def told(shop, learned_at):
    return evaluate(shop.lake, cutoff=learned_at, origins=2, curve=True, tiers=(0.5, 0.25), **ARGS)


def test_rolling_origins_are_what_each_evaluation_alone_would_say(shop, learned_at, told):
    alone = [
        evaluate(shop.lake, cutoff=learned_at - timedelta(days=21 * n), **ARGS) for n in range(2)
    ]
    assert [one["metrics"] for one in told["origins"]] == [one["metrics"] for one in alone]
    assert told["metrics"] == alone[0]["metrics"]
    auc = [one["metrics"]["auc"] for one in alone]
    assert told["summary"]["model"]["auc"] == {"mean": np.mean(auc), "sd": np.std(auc, ddof=1)}
    low, high = told["intervals"]["auc"]
    assert low < np.mean(auc) < high


def test_segments_add_up_and_an_unknown_attribute_is_named(shop, told):
    total = sum(one["customers"] for one in told["origins"])
    orders = [one for one in told["segments"] if one["segment"] == "orders so far"]
    assert (
        total - 60 <= sum(one["customers"] for one in orders) <= total
    )  # groups below thirty are not told
    assert {one["value"] for one in told["segments"] if one["segment"] == "tier"} <= {
        "high",
        "medium",
        "low",
    }
    with pytest.raises(BadInput, match="--by shoe_size: no customer has an attribute"):
        evaluate(shop.lake, cutoff=shop.end - timedelta(days=21), by=("shoe_size",), **ARGS)


def test_an_attribute_that_was_asked_for_may_have_many_values(tmp_path):
    """Eleven ages: the seven commonest are told apart, the others together; unasked only what has few values is."""
    ages = "AAAAABBBBCCCCDDDDEEEFFFGGGHHIJK"
    said = [
        json.dumps({"age": age, "plan": "new" if n % 3 else "old"}) for n, age in enumerate(ages)
    ]
    pd.DataFrame({"customer_id": range(len(said)), "attributes": said}).to_parquet(
        tmp_path / "people.parquet"
    )
    home = Settings(home=tmp_path / "home")
    lake = Lake.open(home)
    import_files(lake, None, home, "customers", [str(tmp_path / "people.parquet")])
    asked = customer_attributes(lake, ["age", "shoe_size"])
    assert list(asked) == ["age"]
    assert asked.age.value_counts().to_dict() == {
        "A": 5,
        "B": 4,
        "C": 4,
        "D": 4,
        "E": 3,
        "F": 3,
        "G": 3,
        "other": 5,
    }
    assert list(customer_attributes(lake)) == ["plan"]


def test_the_learning_curve_ends_where_the_model_stands(told):
    whole = told["learning_curve"][-1]
    assert (
        whole["train_rows"]
        == told["train_rows"]
        == max(one["train_rows"] for one in told["learning_curve"])
    )
    assert whole["log_loss"] == pytest.approx(told["metrics"]["log_loss"], abs=1e-9)
    assert len(told["learning_curve"]) >= 4


scores = st.lists(st.tuples(st.booleans(), st.integers(1, 99)), min_size=20, max_size=80).filter(
    lambda rows: 0 < sum(one for one, _ in rows) < len(rows)
)


@given(scores)
@settings(max_examples=60, deadline=None)
def test_the_brier_score_is_the_sum_of_its_parts_and_the_curve_ends_at_everyone(rows):
    churned = np.array([float(one) for one, _ in rows])
    said = np.array([value / 100 for _, value in rows])
    parts = brier_decomposition(churned, said)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
    assert total == pytest.approx(metrics(churned, said)["brier"])
    assert min(parts["reliability"], parts["resolution"], parts["uncertainty"]) >= 0
    curve = lift_curve(churned, said)
    captured = [one["captured"] for one in curve]
    assert captured == sorted(captured)
    assert captured[-1] == pytest.approx(1)
    assert curve[-1]["lift"] == pytest.approx(1)
    assert curve[0]["lift"] == top_decile_lift(churned, said)


def test_probabilities_in_whole_bins_leave_nothing_within():
    said = np.repeat([0.1, 0.6], 50)
    churned = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], 20)
    assert brier_decomposition(churned, said)["within_bins"] == pytest.approx(0, abs=1e-12)


def test_intervals_cover_the_truth_as_often_as_they_say_and_count_a_customer_once():
    random = np.random.default_rng(5)

    def rate(churned, said):
        return {"rate": float(churned.mean())}

    covered = 0
    for _ in range(60):
        churned = (random.random(250) < 0.3).astype(float)
        ids = np.arange(250).astype(str)
        low, high = metric_intervals(rate, [(ids, churned, churned)])["rate"]
        twice = metric_intervals(rate, [(ids, churned, churned)] * 2)["rate"]
        assert twice == [low, high]  # the same customers again tell nothing new
        covered += low <= 0.3 <= high
    assert covered >= 51


def test_the_interval_of_an_ece_holds_it():
    """Each draw of customers is more uneven than they are: the interval of an ECE of .033 began at .037."""
    random = np.random.default_rng(8)
    for _ in range(10):
        said = random.beta(4, 2, 400)
        churned = (random.random(400) < said).astype(float)
        ids = np.arange(400).astype(str)
        found = metric_intervals(
            lambda y, p: {"ece": ece(y, p), "brier": float(((y - p) ** 2).mean())},
            [(ids, churned, said)],
        )
        assert 0 <= found["ece"][0] <= ece(churned, said) < found["ece"][1]
        low, high = found["brier"]
        assert low < ((churned - said) ** 2).mean() < high


def test_the_ece_of_chance_is_what_perfect_probabilities_show():
    random = np.random.default_rng(6)
    said = random.beta(1, 3, 400)
    seen = [ece((random.random(400) < said).astype(float), said) for _ in range(200)]
    assert ece_by_chance(said) == pytest.approx(np.mean(seen), rel=0.05)
