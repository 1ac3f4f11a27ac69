"""Tests of `evaluate churn`: origins, segments, learning curve, intervals."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.churn.evaluation.classification_metrics import (
    brier_decomposition,
    ece,
    ece_by_chance,
    lift_curve,
    metrics,
    top_decile_lift,
)
from retention.churn.evaluation.evaluate import Plan, evaluate
from retention.churn.evaluation.segments import customer_attributes
from retention.churn.evaluation.uncertainty import metric_intervals
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.settings import Settings
from retention.window import Window

pytestmark = pytest.mark.nightly

ARGS = {"window": Window(21, 42), "model": "rfm_logistic"}


@pytest.fixture(scope="module")
def report(shop, learned_at):
    plan = Plan(cutoff=learned_at, origins=2, curve=True, tiers=(0.5, 0.25), **ARGS)
    return evaluate(shop.lake, plan)[0]


def test_rolling_origins_equal_separate_evaluations(shop, learned_at, report):
    alone = [
        evaluate(shop.lake, Plan(cutoff=learned_at - timedelta(days=21 * n), **ARGS))[0]
        for n in range(2)
    ]
    figures = [origin["metrics"] for origin in alone]
    assert [origin["metrics"] for origin in report["origins"]] == figures
    assert report["metrics"] == figures[0]
    auc = [origin["metrics"]["auc"] for origin in alone]
    assert report["summary"]["model"]["auc"] == {"mean": np.mean(auc), "sd": np.std(auc, ddof=1)}
    low, high = report["intervals"]["auc"]
    assert low < np.mean(auc) < high


def test_segments_add_up_and_unknown_attributes_are_named(shop, report):
    total = sum(row["customers"] for row in report["origins"])
    orders = [row for row in report["segments"] if row["segment"] == "orders so far"]
    # Groups below thirty are not told
    assert total - 60 <= sum(row["customers"] for row in orders) <= total
    tiers = {row["value"] for row in report["segments"] if row["segment"] == "tier"}
    assert tiers <= {"high", "medium", "low"}
    with pytest.raises(BadInput, match="--by shoe_size: no customer has an attribute"):
        evaluate(shop.lake, Plan(cutoff=shop.end - timedelta(days=21), by=("shoe_size",), **ARGS))


def test_requested_attributes_may_have_many_values(tmp_path):
    """The most frequent values of eleven stay separate.

    By default, only attributes with few values are used.
    """
    ages = "AAAAABBBBCCCCDDDDEEEFFFGGGHHIJK"
    probabilities = [
        json.dumps({"age": age, "plan": "new" if n % 3 else "old"}) for n, age in enumerate(ages)
    ]
    columns = {"customer_id": range(len(probabilities)), "attributes": probabilities}
    pd.DataFrame(columns).to_parquet(tmp_path / "people.parquet")
    home = Settings(home=tmp_path / "home")
    lake = Lake.open(home)
    import_files(lake, None, home, "customers", [str(tmp_path / "people.parquet")])
    attributes = customer_attributes(lake, ["age", "shoe_size"])
    assert list(attributes) == ["age"]
    counts = {"A": 5, **dict.fromkeys("BCD", 4), **dict.fromkeys("EFG", 3), "other": 5}
    assert attributes.age.value_counts().to_dict() == counts
    assert list(customer_attributes(lake)) == ["plan"]


def test_learning_curve_ends_at_the_full_model(report):
    full = report["learning_curve"][-1]
    most = max(point["train_rows"] for point in report["learning_curve"])
    assert full["train_rows"] == report["train_rows"] == most
    assert full["log_loss"] == pytest.approx(report["metrics"]["log_loss"], abs=1e-9)
    assert len(report["learning_curve"]) >= 4


scores = st.lists(st.tuples(st.booleans(), st.integers(1, 99)), min_size=20, max_size=80).filter(
    lambda rows: 0 < sum(is_positive for is_positive, _ in rows) < len(rows)
)


@given(scores)
@settings(max_examples=60, deadline=None)
def test_brier_parts_add_up_and_lift_ends_at_everyone(rows):
    churned = np.array([float(row) for row, _ in rows])
    probabilities = np.array([value / 100 for _, value in rows])
    parts = brier_decomposition(churned, probabilities)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
    assert total == pytest.approx(metrics(churned, probabilities)["brier"])
    assert min(parts["reliability"], parts["resolution"], parts["uncertainty"]) >= 0
    curve = lift_curve(churned, probabilities)
    captured = [row["captured"] for row in curve]
    assert captured == sorted(captured)
    assert captured[-1] == pytest.approx(1)
    assert curve[-1]["lift"] == pytest.approx(1)
    assert curve[0]["lift"] == top_decile_lift(churned, probabilities)


def test_constant_bins_have_no_within_bin_term():
    probabilities = np.repeat([0.1, 0.6], 50)
    churned = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], 20)
    assert brier_decomposition(churned, probabilities)["within_bins"] == pytest.approx(0, abs=1e-12)


def test_intervals_have_nominal_coverage_by_customer():
    random = np.random.default_rng(5)

    def rate(churned, probabilities):
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


def test_ece_interval_contains_the_ece():
    """Regression: the interval of an ECE of .033 once began at .037."""
    random = np.random.default_rng(8)
    for _ in range(10):
        probabilities = random.beta(4, 2, 400)
        churned = (random.random(400) < probabilities).astype(float)
        ids = np.arange(400).astype(str)
        interval = metric_intervals(
            lambda y, p: {"ece": ece(y, p), "brier": float(((y - p) ** 2).mean())},
            [(ids, churned, probabilities)],
        )
        assert 0 <= interval["ece"][0] <= ece(churned, probabilities) < interval["ece"][1]
        low, high = interval["brier"]
        assert low < ((churned - probabilities) ** 2).mean() < high


def test_ece_by_chance_matches_perfect_probabilities():
    random = np.random.default_rng(6)
    probabilities = random.beta(1, 3, 400)
    errors = [
        ece((random.random(400) < probabilities).astype(float), probabilities) for _ in range(200)
    ]
    assert ece_by_chance(probabilities) == pytest.approx(np.mean(errors), rel=0.05)
