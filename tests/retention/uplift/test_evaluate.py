"""`evaluate uplift`: what it prints, what it finds on a known experiment, and its sentences for bad input."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from bot.terminal import printed, run
from retention.uplift.evaluate import FOLDS, judge, picked, select
from retention.uplift.learners import LEARNERS
from retention.uplift.metrics import METRICS
from retention.uplift.table import Experiment, experiment
from tests.retention.uplift.hillstrom import ARMS, FEATURES, against, hillstrom


@pytest.fixture(scope="module")
def report():
    """Of the women's e-mail, from the table as it is: outcomes and arms among its columns."""
    table, _ = hillstrom(6000, seed=2)
    trial = experiment(table, treatment="segment", outcome="visit", control=ARMS[0], arm=ARMS[1])
    return trial, judge(trial)


def test_it_chooses_a_ranking_that_beats_risk_and_random(report):
    trial, found = report
    assert found["customers"] == len(trial.outcome) < 6000
    assert found["model"] in found["candidates"]
    assert found["metrics"]["qini"] > 0.05 > found["baselines"]["random"]["qini"]
    assert found["metrics"]["qini"] > found["baselines"]["risk"]["qini"]
    assert found["selection"]["above"]["risk"][0] > 0
    assert found["metrics"]["uplift_top_30"] > found["ate"] > 0
    assert abs(found["baselines"]["random"]["qini"]) < 0.02
    assert found["baselines"]["random"]["uplift_top_30"] == pytest.approx(found["ate"], abs=0.02)


def test_every_figure_has_an_interval_around_it(report):
    found = report[1]
    for name in METRICS:
        low, high = found["intervals"][name]
        assert low < found["metrics"][name] < high
        for baseline in ("random", "risk"):
            low, high = found["baseline_intervals"][baseline][name]
            assert low < high
    low, high = found["intervals"]["ate"]
    assert low < found["ate"] < high


@pytest.mark.parametrize("chosen", LEARNERS)
def test_learners_are_told_by_the_names_of_the_field_and_the_usual_one_is_named(
    report, settings, chosen
):
    """It said "effect_modelling", "s_logistic" and "mean, the mean of 2 × 5 folds"."""
    told = printed("bot/evaluate_uplift", {**report[1], "model": chosen}, settings)
    assert not [name for name in LEARNERS if "_" in name and name in told]
    assert {"S-learner", "T-learner", "doubly robust, ridge", "mean of three learners"} <= {
        line.split("qini")[0].strip() for line in told.splitlines()
    }
    assert "effect modelling is the usual one" in told
    if chosen == "mean":
        assert "Chosen: mean of three learners." in told


def test_what_was_not_known_before_is_left_out_and_named(report):
    trial, found = report
    assert set(trial.features.columns) == set(FEATURES)
    assert set(found["left_out"]) == {"conversion", "spend"}
    table, _ = against(None, customers=3000)
    table["customer"] = [f"k{n}" for n in range(len(table))]
    table["row"] = np.arange(len(table))
    left_out = experiment(table, treatment="treated", outcome="visit").left_out
    assert {"segment", "customer", "row", "conversion"} <= set(left_out)
    asked = experiment(
        table, treatment="treated", outcome="visit", features=["recency", "conversion"]
    )
    assert list(asked.features) == ["recency", "conversion"]


def test_a_number_that_is_known_of_the_treated_alone_is_left_out():
    """The days until an e-mail was opened, empty for who got none: its being empty told the arm, and Qini rose sixfold."""
    table, _ = against(None, customers=3000)
    rng = np.random.default_rng(1)
    opened = (table["treated"] == 1) & (rng.random(3000) < 0.3)
    days = pd.Series(rng.exponential(3, 3000))
    regrets = (table["visit"] == 1) & (rng.random(3000) < 0.5)
    table = table.assign(
        opened_after=days.where(opened),
        opened_at=(pd.Timestamp("2025-05-01") + pd.to_timedelta(days, unit="D")).where(opened),
        patience=days.where(~regrets),  # nobody of whom it is not known stayed away
        often_missing=days.where(rng.random(3000) < 0.6),
    )
    trial = experiment(table, treatment="treated", outcome="visit")
    assert {"opened_after", "opened_at", "patience"} <= set(trial.left_out)
    assert "often_missing" in trial.features


def test_a_mark_that_is_missing_for_the_treated_alone_is_left_out_though_minus_one_is_one_of_its_values():
    """What is missing was counted as −1."""
    table, _ = against(None, customers=3000)
    rng = np.random.default_rng(1)
    mark = pd.Series(np.where(rng.random(3000) < 0.5, 1.0, -1.0))
    table = table.assign(said=mark.mask((table["treated"] == 1) & (mark < 0)), told=mark)
    trial = experiment(table, treatment="treated", outcome="visit")
    assert "said" in trial.left_out
    assert "told" in trial.features


def test_an_infinite_number_counts_as_missing():
    table, _ = against(None, customers=600)
    ratio = table["recency"].astype(float).where(table.index > 3, math.inf)
    trial = experiment(
        table.assign(ratio=ratio), treatment="treated", outcome="visit", features=["ratio"]
    )
    assert trial.features["ratio"].isna().sum() == 4


def test_without_any_uplift_to_find_the_interval_holds_zero():
    rng = np.random.default_rng(5)
    n = 1200
    trial = Experiment(
        pd.DataFrame({"a": rng.normal(size=n), "b": rng.choice(["x", "y"], n)}),
        rng.binomial(1, 0.3, n).astype(float),
        rng.binomial(1, 0.5, n).astype(float),
        0.5,
    )
    low, high = judge(trial)["selection"]["interval"]
    assert low < 0 < high


def test_another_than_the_usual_learner_has_to_be_better_by_a_standard_error():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 2 * FOLDS)
    usual, better = np.full(2 * FOLDS, 0.05), np.full(2 * FOLDS, 0.06)
    error = noise.std(ddof=1) / math.sqrt(len(noise))
    scattered = usual + noise - noise.mean()
    assert select({"usual": usual, "a little": scattered + 0.9 * error}) == "usual"
    assert select({"usual": usual, "better": scattered + 1.1 * error}) == "better"
    assert picked({"usual": usual, "better": better}) == ["better"] * 2 * FOLDS


def test_the_best_of_many_flatters_itself_and_the_selection_does_not():
    rng = np.random.default_rng(1)
    lucky, honest = [], []
    for _ in range(60):
        qini = {f"noise {n}": rng.normal(0, 0.02, 2 * FOLDS) for n in range(8)}
        lucky.append(qini[select(qini)].mean())
        honest.append(np.mean([qini[name][fold] for fold, name in enumerate(picked(qini))]))
    assert np.mean(lucky) > 0.005
    assert abs(np.mean(honest)) < 3 * np.std(honest) / math.sqrt(len(honest))


@pytest.fixture
def terminal(tmp_path, monkeypatch, capsys):
    """``retention evaluate uplift`` on a table: (exit status, standard output, standard error)."""
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "home"))
    for name in ("SLACK_BOT_TOKEN", "RETENTION_NOW", "RETENTION_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def typed(table: pd.DataFrame, *words: str, file: str = "data.csv") -> tuple[int, str, str]:
        path = tmp_path / file
        table.to_parquet(path) if file.endswith("parquet") else table.to_csv(path, index=False)
        status = run(["evaluate", "uplift", "--data", str(path), *words])
        return status, *capsys.readouterr()

    return typed


def test_it_prints_the_contract(terminal):
    table, _ = against(ARMS[1], customers=900)
    words = [
        "--treatment",
        "treated",
        "--outcome",
        "visit",
        "--features",
        "recency",
        "womens",
        "zip_code,newbie",
    ]
    status, out, error = terminal(table, *words, "--json", file="data.parquet")
    assert (status, error) == (0, "")
    said = json.loads(out)
    assert set(said) >= {
        "customers",
        "ate",
        "metrics",
        "intervals",
        "baselines",
        "model",
        "seconds",
    }
    assert set(said["metrics"]) == set(METRICS) <= set(said["intervals"])
    assert set(said["baselines"]) >= {"random", "risk"}
    assert said["features"] == ["recency", "womens", "zip_code", "newbie"]


GOOD = ("--treatment", "treated", "--outcome", "visit")


@pytest.mark.parametrize(
    ("words", "change", "sentence"),
    [
        (("--treatment", "treted", "--outcome", "visit"), {}, "did you mean 'treated'?"),
        (("--treatment", "treated", "--outcome", "bought"), {}, "the data has no column 'bought'"),
        (("--treatment", "visit", "--outcome", "visit"), {}, "name two columns"),
        (
            ("--treatment", "segment", "--outcome", "visit"),
            {},
            "say with --control which of them was held out",
        ),
        (
            ("--treatment", "segment", "--outcome", "visit", "--control", "Nobody"),
            {},
            "has no value 'Nobody'",
        ),
        (("--treatment", "treated", "--outcome", "spend"), {"spend": 2.5}, "has to be 0 or 1"),
        ((*GOOD, "--features", "visit"), {}, "is the treatment or the outcome itself"),
        (GOOD, {"treated": 1}, "nobody is control"),
        (GOOD, {"treated": 2}, "say with --control"),
        (GOOD, {"visit": None}, "is empty in 300 of 300 rows"),
        (GOOD, {"visit": 0}, "have the outcome; uplift needs at least 5"),
        ((*GOOD, "--features", "nothing"), {"nothing": 1}, "No column is left"),
        ((*GOOD, "recency"), {}, "stands alone"),
    ],
)
def test_bad_input_has_its_sentence(terminal, words, change, sentence):
    table, _ = against(None, customers=300)
    status, out, error = terminal(table.assign(**change), *words, "--json")
    assert (status, out) == (2, "")
    assert sentence in error
    assert len(error.strip().splitlines()) == 1


def test_a_file_that_is_none_has_its_sentence(terminal, tmp_path, capsys):
    assert run(["evaluate", "uplift", "--data", str(tmp_path / "no.csv"), *GOOD]) == 2
    assert "there is no file" in capsys.readouterr().err
    (tmp_path / "bad.parquet").write_text("this is no parquet file")
    assert run(["evaluate", "uplift", "--data", str(tmp_path / "bad.parquet"), *GOOD]) == 2
    assert "cannot be read" in capsys.readouterr().err
    for written in ("treated,visit,recency\n", "treated,visit,2024\n", "", "\n"):
        (tmp_path / "header.csv").write_text(written)
        assert run(["evaluate", "uplift", "--data", str(tmp_path / "header.csv"), *GOOD]) == 2
        assert "header.csv has no rows" in capsys.readouterr().err
