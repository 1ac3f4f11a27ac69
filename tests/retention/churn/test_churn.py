from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn import TrainedChurn, evaluate, score, train
from retention.churn.model import fit
from retention.churn.score import population, score_table
from retention.churn.season import Season
from retention.churn.snapshots import build_training_set, snapshot_moments, take_snapshot
from retention.errors import BadInput, TooLittleData
from retention.features import NAMES, build
from tests import readonly, shops
from tests import shop as tiny

ARGS = {"horizon_days": 21, "active_within_days": 42}


@pytest.fixture(scope="module")
def training(shop):
    return build_training_set(shop.lake, cutoff=shop.begin + timedelta(days=120), **ARGS)


@pytest.fixture(scope="module")
def truncated(tmp_path_factory, learned_at):
    """The same shop, of which nothing at or after the cutoff was ever imported."""
    from retention.lake.importing import import_files

    home = tmp_path_factory.mktemp("truncated")
    made = tiny.build(home / "home", customers=1, days=1)
    made.lake.root.rename(home / "unused")
    lake = type(made.lake)(made.lake.root, home / "scratch")
    frames = tiny.frames()
    frames["events"] = frames["events"][frames["events"].occurred_at < learned_at]
    for table in ("items", "events"):
        frames[table].to_parquet(home / f"{table}.parquet")
        import_files(lake, made.database, made.settings, table, [str(home / f"{table}.parquet")])
    with readonly.protected(lake.root):
        yield lake


def _features(lake, cutoff):
    return build(lake, cutoff, **ARGS).order_by("customer_id").execute()


def test_the_future_changes_nothing(shop, truncated, trained):
    cutoff = trained.cutoff
    pd.testing.assert_frame_equal(_features(truncated, cutoff), _features(shop.lake, cutoff))
    blind = train(truncated, cutoff=cutoff, model="logistic", **ARGS)
    pd.testing.assert_frame_equal(
        score(blind, truncated, cutoff), score(trained, shop.lake, cutoff)
    )


def test_features_are_what_the_catalogue_says(shop):
    cutoff = shop.begin + timedelta(days=150)
    found = _features(shop.lake, cutoff)
    assert list(found.columns) == ["customer_id", *NAMES]
    events = tiny.frames()["events"].drop_duplicates()  # as the importer does
    past = events[(events.occurred_at < cutoff) & (events.event_type == "purchase")]
    orders = past.groupby(["customer_id", "order_id"]).agg(
        at=("occurred_at", "min"), amount=("amount", "sum")
    )
    orders = orders.reset_index().sort_values("at")
    age = (cutoff - orders["at"]) / timedelta(days=1)
    recency = age.groupby(orders.customer_id).min()
    active = recency[recency <= 42]
    assert sorted(found.customer_id) == sorted(active.index)
    by = found.set_index("customer_id")
    np.testing.assert_allclose(by.recency_days, active.reindex(by.index), atol=1e-6)
    spend = orders.groupby("customer_id").amount.sum()
    np.testing.assert_allclose(by.spend_all, spend.reindex(by.index), atol=1e-6)
    recent = orders[age <= 21].groupby("customer_id").size().reindex(by.index).fillna(0)
    np.testing.assert_array_equal(by.orders_1h, recent)
    days = orders.assign(day=orders["at"].dt.floor("D")).drop_duplicates(["customer_id", "day"])
    gaps = days.groupby("customer_id").day.diff() / timedelta(days=1)
    median = gaps.groupby(days.customer_id).median().reindex(by.index)
    np.testing.assert_allclose(by.gap_median.astype(float), median)


def test_label_windows_are_over_at_the_cutoff_and_history_stands_before_each(shop):
    cutoff = shop.begin + timedelta(days=190)
    newest, *earlier = snapshot_moments(cutoff, 190, 21)
    assert newest + timedelta(days=21) == cutoff
    assert earlier == sorted(earlier, reverse=True)
    assert all(moment - timedelta(days=21) >= shop.begin for moment in earlier)


def test_labels_are_the_horizon_and_nothing_after_it(shop):
    cutoff = shop.begin + timedelta(days=120)
    found = take_snapshot(shop.lake, cutoff, **ARGS)
    events = tiny.frames()["events"]
    window = events[
        (events.event_type == "purchase")
        & (events.occurred_at >= cutoff)
        & (events.occurred_at < cutoff + timedelta(days=21))
    ]
    assert list(found.churned == 0) == list(found.frame.customer_id.isin(window.customer_id))


def test_evaluation_has_the_contracts_fields_and_beats_recency(shop):
    result = evaluate(shop.lake, cutoff=shop.end - timedelta(days=21), model="logistic", **ARGS)
    wanted = {"auc", "pr_auc", "top_decile_lift", "brier", "log_loss", "ece", "empc"}
    assert set(result["metrics"]) == wanted
    assert set(result["baselines"]) == {"recency", "rfm_logistic", "bg_nbd"}
    assert all(set(one) == wanted for one in result["baselines"].values())
    assert set(result["seconds"]) == {"features", "train", "score"}
    assert result["metrics"]["log_loss"] < result["baselines"]["recency"]["log_loss"]
    assert 0 < result["base_rate"] < 1


def test_an_artefact_gives_the_same_scores_and_only_known_types_load(shop, trained):
    import skops.io
    from sklearn.neighbors import KNeighborsClassifier

    again = TrainedChurn.from_bytes(trained.to_bytes(), version="v1")
    at = shop.end - timedelta(days=10)
    pd.testing.assert_frame_equal(score(again, shop.lake, at), score(trained, shop.lake, at))
    assert again.version == "v1"
    assert again.cutoff == trained.cutoff
    foreign = skops.io.dumps({"model": KNeighborsClassifier, "about": "{}"})
    if skops.io.get_untrusted_types(data=foreign):
        with pytest.raises(BadInput, match="not on the list"):
            TrainedChurn.from_bytes(foreign)


@pytest.mark.parametrize(
    "name", ["tree", "forest", "svm", "neural", "ensemble", "stacked", "bg_nbd", "rfm_logistic"]
)
def test_every_kind_of_artefact_can_be_loaded(training, name):
    made = fit(training, model=name)
    X = training.newest.matrix(made.columns)
    np.testing.assert_array_equal(
        TrainedChurn.from_bytes(made.to_bytes()).probability(X), made.probability(X)
    )


def test_reasons_are_said_in_words(shop, trained):
    scores = score(trained, shop.lake, shop.end)
    risky = scores.sort_values("churn_probability").tail(10)
    texts = [reason["text"] for told in risky.reasons for reason in told]
    assert any(text.startswith("no order for") and "usually every" in text for text in texts)
    assert all(told == sorted(told, key=lambda r: -r["weight"]) for told in risky.reasons)
    assert (scores.next_order_at >= shop.end).all()
    assert (scores.expected_value >= 0).all()


def test_the_time_of_the_year_is_no_reason_before_thirteen_months(shop, trained):
    """The tiny shop has half a year: a model may use how orders fall into it, but nobody knows that it comes again."""
    people = population(shop.lake, shop.end, horizon_days=21, active_within_days=42)
    count = len(people.frame)
    weight = {"season": np.full(count, 2.0), "recency": np.full(count, 1.0)}
    young = score_table(trained, people, np.ones(count), weight)
    assert {reason["feature"] for row in young.reasons for reason in row} == {"recency"}
    known = replace(people, season=Season(np.arange(500.0), 21.0, 0.0, people.purchases))
    grown = score_table(trained, known, np.ones(count), weight)
    assert all([one["feature"] for one in row] == ["recency", "season"] for row in grown.reasons)


def test_what_cannot_be_learned_is_said_in_a_sentence(shop):
    with pytest.raises(BadInput, match=r"horizon of 90 days needs 180 days.*at most"):
        train(shop.lake, cutoff=shop.begin + timedelta(days=100), horizon_days=90)
    with pytest.raises(TooLittleData, match=r"a model needs 100"):
        train(shop.lake, cutoff=shop.begin + timedelta(days=45), horizon_days=14)
    with pytest.raises(BadInput, match="data ends on"):
        train(shop.lake, cutoff=shop.end + timedelta(days=60), **ARGS)
    with pytest.raises(
        BadInput,
        match=f"are not over in the data, for it goes from {shop.begin:%Y-%m-%d} to .*--cutoff of",
    ):
        evaluate(shop.lake, cutoff=shop.end - timedelta(days=5), **ARGS)
    longest = (shop.end - shop.begin).days // 3
    with pytest.raises(
        BadInput, match=f"it goes from .*; take a --horizon of at most {longest} days"
    ):
        evaluate(shop.lake, cutoff=shop.end - timedelta(days=5), horizon_days=3000)
    with pytest.raises(TooLittleData, match="no events before"):
        train(shop.lake, cutoff=shop.begin - timedelta(days=5), **ARGS)


def test_a_day_of_training_is_told_by_the_shops_clock(shop, monkeypatch):
    """Of a model learned from before the first of October in London it said 2024-09-02, and the card 3 Sep 2024."""
    monkeypatch.setattr(shop.lake, "zone", "America/Los_Angeles")
    eve = shop.begin + timedelta(days=30)
    with pytest.raises(TooLittleData, match=f"customers had ordered by {eve:%Y-%m-%d};"):
        train(shop.lake, cutoff=shop.begin + timedelta(days=45), horizon_days=14)


def test_a_shop_closed_before_the_cutoff_is_no_end_of_the_data(tmp_path):
    """A gift shop closes from Christmas to New Year, and is evaluated at the first of January."""
    events = shops.groceries(customers=150, days=240)
    cutoff, when = shops.end(200), events.occurred_at
    closes = pd.Timestamp(cutoff - timedelta(days=9))
    for name, kept in (("closed", (when < closes) | (when >= cutoff)), ("ended", when < closes)):
        (tmp_path / name).mkdir()
        lake = shops.lake(tmp_path / name, events[kept])
        if name == "closed":
            assert (
                build_training_set(
                    lake, cutoff=cutoff, horizon_days=28, active_within_days=56
                ).cutoff
                == cutoff
            )
        else:
            with pytest.raises(BadInput, match="data ends on"):
                build_training_set(lake, cutoff=cutoff, horizon_days=28, active_within_days=56)


def test_auto_says_on_which_rung_it_stands(shop):
    made = train(shop.lake, cutoff=shop.end, **ARGS)
    assert made.estimator in ("bg_nbd", "rfm_logistic", "stacked")
    assert "logistic regression needs 500 buyers (have" in made.rung
    assert "Chosen by log-loss on 3 rolling origins" in made.rung


def test_what_was_learned_for_an_origin_was_known_at_it(training):
    for moment in (one.cutoff for one in training.snapshots[:4]):
        earlier = training.before(moment)
        assert all(one.cutoff + timedelta(days=21) <= moment for one in earlier)
        if earlier:
            assert training.as_of(moment).snapshots == earlier


def test_the_same_data_and_seed_give_the_same_bytes_of_predictions(training):
    from dataclasses import replace

    X = training.newest.matrix(training.columns)
    one, other = (
        fit(replace(training, fits={}), model="stacked", seed=3).probability(X) for _ in range(2)
    )
    assert one.tobytes() == other.tobytes()
