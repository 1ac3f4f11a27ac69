"""Test the evaluation of uplift learners on a known experiment."""

import math

import numpy as np
import pandas as pd
import pytest

from retention.uplift.evaluation import FOLDS, compare_learners, select_by_qini, select_per_fold
from retention.uplift.experiment import Experiment, build_experiment
from retention.uplift.learners import LEARNERS
from retention.uplift.uplift_metrics import METRICS
from tests.retention.uplift.hillstrom import ARMS, FEATURES, against, hillstrom
from tests.terminal_text import terminal_text


@pytest.fixture(scope="module")
def report():
    """Evaluate the women's e-mail on the full table, with outcomes and arms among the columns."""
    table, _ = hillstrom(6000, seed=2)
    trial = build_experiment(table, "segment", "visit", control=ARMS[0], arm=ARMS[1])
    return trial, compare_learners(trial)[0]


def built(table: pd.DataFrame, *features: str) -> Experiment:
    return build_experiment(table, "treated", "visit", features)


def test_selected_learner_beats_risk_and_random(report):
    trial, result = report
    assert result["customers"] == len(trial.outcome) < 6000
    assert result["model"] in result["candidates"]
    assert result["metrics"]["qini"] > 0.05 > result["baselines"]["random"]["qini"]
    assert result["metrics"]["qini"] > result["baselines"]["risk"]["qini"]
    assert result["selection"]["above"]["risk"][0] > 0
    assert result["metrics"]["uplift_top_30"] > result["ate"] > 0
    assert abs(result["baselines"]["random"]["qini"]) < 0.02
    assert result["baselines"]["random"]["uplift_top_30"] == pytest.approx(result["ate"], abs=0.02)


def test_every_metric_has_an_interval_around_it(report):
    result = report[1]
    for name in METRICS:
        low, high = result["intervals"][name]
        assert low < result["metrics"][name] < high
        for baseline in ("random", "risk"):
            low, high = result["baseline_intervals"][baseline][name]
            assert low < high
    low, high = result["intervals"]["ate"]
    assert low < result["ate"] < high


@pytest.mark.nightly
@pytest.mark.parametrize("chosen", LEARNERS)
def test_output_names_learners_and_the_default(report, settings, chosen):
    output = terminal_text("bot/evaluate_uplift", {**report[1], "model": chosen}, settings)
    assert not [name for name in LEARNERS if "_" in name and name in output]
    assert {"S-learner", "T-learner", "doubly robust, ridge", "mean of three learners"} <= {
        line.split("qini")[0].strip() for line in output.splitlines()
    }
    assert "effect modelling is the default" in output
    if chosen == "mean":
        assert "Chosen: mean of three learners." in output


def test_leaking_columns_are_left_out_and_named(report):
    trial, result = report
    assert set(trial.features.columns) == set(FEATURES)
    assert set(result["left_out"]) == {"conversion", "spend"}
    table, _ = against(None, customers=3000)
    table["customer"] = [f"k{n}" for n in range(len(table))]
    table["row"] = np.arange(len(table))
    assert {"segment", "customer", "row", "conversion"} <= set(built(table).left_out)
    assert list(built(table, "recency", "conversion").features) == ["recency", "conversion"]


def test_column_that_is_missing_by_arm_or_outcome_is_left_out():
    """Missing days until an e-mail was opened reveal the arm, and so does a flag without its −1."""
    table, _ = against(None, customers=3000)
    rng = np.random.default_rng(1)
    treated, opens, regrets = (
        (table["treated"] == 1),
        rng.random(3000) < 0.3,
        rng.random(3000) < 0.5,
    )
    days = pd.Series(rng.exponential(3, 3000))
    told = pd.Series(np.where(rng.random(3000) < 0.5, 1.0, -1.0))
    moment = pd.Timestamp("2025-05-01") + pd.to_timedelta(days, unit="D")
    leaking = {
        "opened_after": days.where(treated & opens),
        "opened_at": moment.where(treated & opens),
        "patience": days.mask((table["visit"] == 1) & regrets),  # missing only for visitors
        "said": told.mask(treated & (told < 0)),
    }
    often_missing = days.where(rng.random(3000) < 0.6)
    trial = built(table.assign(**leaking, told=told, often_missing=often_missing))
    assert {*leaking} <= set(trial.left_out)
    assert {"told", "often_missing"} <= {*trial.features}


def test_infinite_number_counts_as_missing():
    table, _ = against(None, customers=600)
    ratio = table["recency"].astype(float).where(table.index > 3, math.inf)
    assert built(table.assign(ratio=ratio), "ratio").features["ratio"].isna().sum() == 4


def test_interval_contains_zero_without_uplift():
    rng = np.random.default_rng(5)
    n = 1200
    table = pd.DataFrame({"a": rng.normal(size=n), "b": rng.choice(["x", "y"], n)})
    outcome, treated = (rng.binomial(1, share, n).astype(float) for share in (0.3, 0.5))
    trial = Experiment(table, outcome, treated, 0.5)
    low, high = compare_learners(trial)[0]["selection"]["interval"]
    assert low < 0 < high


def test_other_learner_must_beat_default_by_a_standard_error():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 2 * FOLDS)
    default, better = np.full(2 * FOLDS, 0.05), np.full(2 * FOLDS, 0.06)
    error = noise.std(ddof=1) / math.sqrt(len(noise))
    noisy = default + noise - noise.mean()
    assert select_by_qini({"usual": default, "a little": noisy + 0.9 * error}) == "usual"
    assert select_by_qini({"usual": default, "better": noisy + 1.1 * error}) == "better"
    assert select_per_fold({"usual": default, "better": better}) == ["better"] * 2 * FOLDS


def test_selection_per_fold_is_unbiased_unlike_the_best():
    rng = np.random.default_rng(1)
    lucky, honest = [], []
    for _ in range(60):
        qini = {f"noise {n}": rng.normal(0, 0.02, 2 * FOLDS) for n in range(8)}
        lucky.append(qini[select_by_qini(qini)].mean())
        chosen = enumerate(select_per_fold(qini))
        honest.append(np.mean([qini[name][fold] for fold, name in chosen]))
    assert np.mean(lucky) > 0.005
    assert abs(np.mean(honest)) < 3 * np.std(honest) / math.sqrt(len(honest))
