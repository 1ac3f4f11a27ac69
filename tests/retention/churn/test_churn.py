"""Tests of snapshots, training, artefacts and scores on the tiny shop."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.neighbors import KNeighborsClassifier

from retention.churn.evaluation.evaluate import Plan, evaluate
from retention.churn.lost_margin import derived_tiers, list_size
from retention.churn.model import ALLOWED, TrainedChurn, fit, train
from retention.churn.population import population
from retention.churn.score import score, score_table
from retention.churn.season import Season
from retention.churn.snapshots import take_snapshot
from retention.churn.training_set import build_training_set, snapshot_moments
from retention.errors import BadInput, TooLittleData
from retention.features import NAMES, build
from retention.window import Window
from tests import shop as tiny
from tests import shops
from tests.retention.risk import raw_rows

WINDOW = Window(21, 42)


def _features(lake, cutoff):
    return build(lake, cutoff, window=WINDOW).order_by("customer_id").execute()


def test_future_events_change_neither_model_nor_scores(shop, truncated, trained):
    cutoff = trained.cutoff
    pd.testing.assert_frame_equal(_features(truncated, cutoff), _features(shop.lake, cutoff))
    blind = train(truncated, cutoff=cutoff, model="logistic", window=WINDOW)
    pd.testing.assert_frame_equal(
        score(blind, truncated, cutoff)[0], score(trained, shop.lake, cutoff)[0]
    )


def test_tiers_of_a_model_follow_its_customers_at_the_cutoff(shop, trained):
    chances = trained.predict(population(shop.lake, trained.cutoff, window=WINDOW))
    tiers = TrainedChurn.from_bytes(trained.to_bytes()).parameters["tiers"]
    assert tiers == derived_tiers(chances)
    assert (chances >= tiers["high"]).sum() >= list_size(len(chances))


def test_features_match_the_catalogue_and_the_raw_rows(shop):
    """Nothing is scaled or imputed before the model."""
    cutoff = shop.begin + timedelta(days=150)
    features = _features(shop.lake, cutoff)
    assert list(features.columns) == ["customer_id", *NAMES]
    events = tiny.frames()["events"].drop_duplicates()  # as the importer does
    raw = raw_rows.features(events, cutoff, 21).drop(columns="overdue_items")
    raw = raw[raw.recency_days <= 42].astype(float)
    by = features.set_index("customer_id")[raw.columns].astype(float)
    pd.testing.assert_frame_equal(by, raw, check_names=False, check_exact=False, atol=1e-6)


def test_label_windows_end_by_the_cutoff_with_history_before_each(shop):
    cutoff = shop.begin + timedelta(days=190)
    newest, *earlier = snapshot_moments(cutoff, 190, 21)
    assert newest + timedelta(days=21) == cutoff
    assert earlier == sorted(earlier, reverse=True)
    assert all(moment - timedelta(days=21) >= shop.begin for moment in earlier)


@pytest.mark.nightly
def test_labels_cover_exactly_the_horizon(shop):
    cutoff = shop.begin + timedelta(days=120)
    snapshot = take_snapshot(shop.lake, cutoff, window=WINDOW)
    events = tiny.frames()["events"]
    window = events[
        (events.event_type == "purchase")
        & (events.occurred_at >= cutoff)
        & (events.occurred_at < cutoff + timedelta(days=21))
    ]
    assert list(snapshot.churned == 0) == list(snapshot.frame.customer_id.isin(window.customer_id))


def test_artefact_keeps_scores_and_loads_only_known_types(shop, trained):
    again = TrainedChurn.from_bytes(trained.to_bytes(), version="v1")
    at = shop.end - timedelta(days=10)
    pd.testing.assert_frame_equal(score(again, shop.lake, at)[0], score(trained, shop.lake, at)[0])
    assert again.version == "v1"
    assert again.cutoff == trained.cutoff
    foreign = skops.io.dumps({"model": KNeighborsClassifier, "about": "{}"})
    if skops.io.get_untrusted_types(data=foreign):
        with pytest.raises(BadInput, match="not on the list"):
            TrainedChurn.from_bytes(foreign)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", ["tree", "forest", "svm", "neural", "ensemble", "stacked", "bg_nbd", "rfm_logistic"]
)
def test_all_kinds_of_artefacts_load(training, name):
    trained = fit(training, model=name)
    X = training.newest.matrix(trained.columns)
    np.testing.assert_array_equal(
        TrainedChurn.from_bytes(trained.to_bytes()).probability(X), trained.probability(X)
    )


def test_reasons_are_sentences(shop, trained):
    scores, _ = score(trained, shop.lake, shop.end)
    risky = scores.sort_values("churn_probability").tail(10)
    texts = [reason["text"] for reasons in risky.reasons for reason in reasons]
    assert any(text.startswith("no order for") and "usually every" in text for text in texts)
    for listed in risky.reasons:  # first what raises the risk, each direction by its strength
        order = [(reason["direction"] == "lowers", -abs(reason["weight"])) for reason in listed]
        assert order == sorted(order)
    assert (scores.next_order_at >= shop.end).all()
    assert (scores.expected_value >= 0).all()


@pytest.mark.nightly
def test_season_is_no_reason_before_thirteen_months(shop, trained):
    """The tiny shop has half a year of history, so a season cannot be told from a trend."""
    people = population(shop.lake, shop.end, window=Window(21, 42))
    count = len(people.frame)
    weight = {"season": np.full(count, 2.0), "recency": np.full(count, 1.0)}
    young = score_table(trained, people, np.ones(count), weight)
    assert {reason["feature"] for row in young.reasons for reason in row} == {"recency", "other"}
    frame = people.frame.assign(season_ahead=-0.4, season_alone=-0.3)
    seasonal = replace(
        people, frame=frame, season=Season(np.arange(500.0), 21.0, -0.4, -0.3, people.purchases)
    )
    grown = score_table(trained, seasonal, np.ones(count), weight)
    assert all(
        [reason["feature"] for reason in row]
        in (["recency", "season", "other"], ["other", "season", "other"])
        for row in grown.reasons
    )


@pytest.mark.parametrize(
    ("days", "window", "error", "says"),
    [
        (100, Window(90), BadInput, r"horizon of 90 days needs 180 days.*at most"),
        (10, Window(28), BadInput, r"and there are 9; import a longer history\.$"),
        (45, Window(14), TooLittleData, r"Only \d+ customers .* a model needs 100\. Import"),
        (260, WINDOW, BadInput, "data ends on"),
        (-5, WINDOW, TooLittleData, "no events before"),
    ],
)
def test_too_little_data_gives_clear_messages(shop, days, window, error, says):
    with pytest.raises(error, match=says):
        train(shop.lake, cutoff=shop.begin + timedelta(days=days), window=window)


@pytest.mark.parametrize(
    ("window", "fix"), [(WINDOW, "--cutoff of"), (Window(3000), "--horizon of at most 66 days")]
)
def test_evaluation_beyond_the_data_names_its_range_and_the_fix(shop, window, fix):
    says = f"are not over in the data, for it goes from {shop.begin:%Y-%m-%d} to .*{fix}"
    with pytest.raises(BadInput, match=says):
        evaluate(shop.lake, Plan(cutoff=shop.end - timedelta(days=5), window=window))


@pytest.mark.nightly
def test_messages_use_the_shops_local_day(shop, monkeypatch):
    """Regression: messages once used the UTC day."""
    monkeypatch.setattr(shop.lake, "zone", "America/Los_Angeles")
    eve = shop.begin + timedelta(days=30)
    with pytest.raises(TooLittleData, match=f"customers had ordered by {eve:%Y-%m-%d};"):
        train(shop.lake, cutoff=shop.begin + timedelta(days=45), window=Window(14))


@pytest.mark.nightly
def test_closed_days_before_the_cutoff_do_not_end_the_data(tmp_path):
    """A gift shop closes from Christmas to New Year; the cutoff is 1 January."""
    events = shops.groceries(customers=150, days=240)
    cutoff, when = shops.end(200), events.occurred_at
    closes = pd.Timestamp(cutoff - timedelta(days=9))
    (tmp_path / "ended").mkdir()
    closed = shops.lake(tmp_path, events[(when < closes) | (when >= cutoff)])
    ended = shops.lake(tmp_path / "ended", events[when < closes])
    assert build_training_set(closed, cutoff=cutoff, window=Window(28, 56)).cutoff == cutoff
    with pytest.raises(BadInput, match="data ends on"):
        build_training_set(ended, cutoff=cutoff, window=Window(28, 56))


def test_auto_explains_its_model_selection(training):
    model = fit(training, model="auto")
    assert model.estimator in ("bg_nbd", "rfm_logistic", "stacked")
    assert "logistic regression needs 500 buyers (have" in model.selection_note
    origins = "2 rolling origins (2025-04-20, 2025-03-21): "
    assert model.comparison_note.startswith(f"Chosen by log-loss on {origins}")
    assert model.rung == f"{model.selection_note} {model.comparison_note}"
    assert TrainedChurn.from_bytes(model.to_bytes()).comparison_note == model.comparison_note


@pytest.mark.parametrize(
    ("note", "comparison"),
    [
        ("The rung of X.", "Chosen by log-loss on the origin 2024-09-02: stacked 0.3100."),
        ("Chosen by name; by the data: X.", ""),
    ],
)
def test_notes_of_earlier_artefacts_are_split_on_reading(trained, note, comparison):
    """Models trained before the parts were stored have the whole note only."""
    content = skops.io.loads(trained.to_bytes(), trusted=sorted(ALLOWED))
    header = json.loads(content["about"])
    del header["comparison_note"]
    rung = f"{note} {comparison}".strip()
    content["about"] = json.dumps({**header, "rung": rung})
    model = TrainedChurn.from_bytes(skops.io.dumps(content))
    assert (model.rung, model.selection_note, model.comparison_note) == (rung, note, comparison)


def test_origins_train_on_outcomes_known_then(training):
    for moment in (snapshot.cutoff for snapshot in training.snapshots[:4]):
        earlier = training.before(moment)
        assert all(snapshot.cutoff + timedelta(days=21) <= moment for snapshot in earlier)
        if earlier:
            assert training.as_of(moment).snapshots == earlier
