"""Test training windows of rankers and the selection of their kind."""

from dataclasses import replace

import numpy as np
import pytest

from retention.recommend import training
from retention.recommend.catalogue import catalogue
from retention.recommend.evaluation.ranking_metrics import RankingMetrics
from retention.recommend.history import day_of, read
from retention.recommend.ranking import ranker_training
from retention.recommend.ranking.features import NAMES, Examples
from retention.recommend.ranking.ranker_training import (
    TrainingOptions,
    collect_examples,
    past_horizons,
    past_window,
)

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("hasty")]


@pytest.fixture(scope="module")
def options(shop) -> TrainingOptions:
    return TrainingOptions(28, 0, "auto", 5, catalogue(shop.lake, in_stock_only=False))


@pytest.fixture(scope="module")
def history(shop):
    return read(shop.lake, shop.end)


def test_past_window_ignores_later_events(shop, options, history):
    end = day_of(shop.end) - 28
    known_later = past_window(history, end, options)
    known_at_end = past_window(history.before(end), end, options)
    assert known_later.start == end - 28
    np.testing.assert_array_equal(known_later.active, known_at_end.active)
    rows = known_later.active[:40]
    later, then = (collect_examples(window, rows, seed=3) for window in (known_later, known_at_end))
    np.testing.assert_array_equal(later.view, then.view)
    np.testing.assert_array_equal(later.bought, then.bought)


def test_purchases_in_the_window_change_no_feature(shop, options, history):
    """Features are equal with and without the window's events; only labels differ."""
    end = day_of(shop.end)
    whole = past_window(history, end, options)
    half = past_window(history.before(end - 14), end, options)
    left, right = (window.snapshot.interactions for window in (whole, half))
    np.testing.assert_array_equal(left.item_stats.facts, right.item_stats.facts)
    np.testing.assert_array_equal(left.people, right.people)
    assert whole.purchases.sum() > half.purchases.sum()


def test_no_window_before_the_first_event(shop, options, history):
    assert past_window(history, day_of(shop.begin) + 28, options) is None


def test_horizons_go_back_while_enough_customers_bought(shop, options, history):
    last = day_of(shop.end)
    assert past_horizons(history, last, options) == [last - 28, last]
    begin = day_of(shop.begin)
    assert past_horizons(history, begin + 28, options) == []
    few = history.of(np.arange(ranker_training.MIN_CUSTOMERS_IN_HORIZON - 1))
    assert past_horizons(few, last, options) == []


@pytest.fixture
def steps(monkeypatch) -> list[tuple[str, int, set[int]]]:
    """Record what is evaluated and trained on: step, first day and customers."""
    recorded = []

    def record(step: str) -> None:
        real = getattr(ranker_training, step)

        def recording(window, rows, *args, **options):
            recorded.append((step, window.start, {*rows}))
            return real(window, rows, *args, **options)

        monkeypatch.setattr(ranker_training, step, recording)

    record("collect_examples")
    record("_evaluate")
    return recorded


def test_newest_horizon_is_evaluated_before_it_is_trained_on(shop, options, history, steps):
    """Three horizons are used; the newest is first ranked by what the others taught."""
    last = day_of(shop.end)
    assert ranker_training.learn_to_rank(history, last, options).rankers
    assert [step[:2] for step in steps] == [
        ("collect_examples", last - 84),
        ("collect_examples", last - 56),
        ("_evaluate", last - 28),
        ("collect_examples", last - 28),
    ]


def test_single_horizon_is_evaluated_on_customers_not_trained_on(shop, options, history, steps):
    early = day_of(shop.begin) + 50
    assert ranker_training.learn_to_rank(history.before(early), early, options).metrics
    *_, (_, _, trained_on), (step, _, evaluated) = steps
    assert [name for name, _, _ in steps].count(step) == 1
    assert step == "_evaluate"
    assert not evaluated & trained_on


def test_horizon_without_purchases_of_known_items_is_skipped(shop, options, history, monkeypatch):
    """Customers bought, but only items that were not known before."""
    last = day_of(shop.end)
    rebuild = ranker_training.past_window

    def inactive_window(history, end, options, *rest):
        window = rebuild(history, end, options, *rest)
        return window if end == last else replace(window, active=window.active[:0])

    monkeypatch.setattr(ranker_training, "past_window", inactive_window)
    assert ranker_training.learn_to_rank(history, last, options).rankers


def _rankings(**ndcg: np.ndarray) -> dict[str, RankingMetrics]:
    return {
        kind: RankingMetrics(len(each), 0.0, float(each.mean()), 0.0, 0.0, {"ndcg": each})
        for kind, each in ndcg.items()
    }


def test_default_kind_stays_unless_another_is_clearly_better():
    rng = np.random.default_rng(1)
    usual = rng.uniform(size=200)
    noise = usual + rng.normal(0, 0.2, 200)
    noise += usual.mean() - noise.mean() + 1e-4
    kinds = ("all", "learned", "popular")

    def chosen(evaluation: dict[str, RankingMetrics]) -> str:
        return ranker_training.select_kind(evaluation, kinds)

    assert chosen(_rankings(all=usual, learned=noise, popular=usual + 0.05)) == "popular"
    assert chosen(_rankings(all=usual, learned=noise, popular=usual - 0.01)) == "all"
    assert chosen(_rankings(all=usual, learned=noise, popular=usual)) == "all"
    assert chosen({}) == "all"


@pytest.fixture(scope="module")
def examples(shop, options, history) -> Examples:
    window = past_window(history, day_of(shop.end), options)
    return collect_examples(window, window.active, seed=0)


def _with_own(examples: Examples, bought: bool) -> Examples:
    """Mark all items that customers had bought before as bought again, or none."""
    before = examples.view[:, NAMES.index("days")] > 0
    return replace(examples, bought=np.where(before, bought, examples.bought))


def test_ranker_of_new_items_is_trained_on_new_items(examples):
    assert 0 < examples.new.bought.sum() < examples.bought.sum()
    with_repeats, without_repeats = (
        ranker_training._fit_rankers(
            _with_own(examples, bought_again), 0, logistic_only=False, own_ranker_for_new=True
        )
        for bought_again in (True, False)
    )
    view = examples.new.view
    np.testing.assert_array_equal(
        with_repeats["new"].scores(view), without_repeats["new"].scores(view)
    )
    assert not np.allclose(with_repeats["both"].scores(view), without_repeats["both"].scores(view))


@pytest.mark.parametrize("has_own_ranker", [True, False])
def test_few_new_purchases_share_one_ranker_for_both_policies(shop, monkeypatch, has_own_ranker):
    monkeypatch.setattr(ranker_training, "MIN_NEW_PURCHASES", 1 if has_own_ranker else 10**9)
    monkeypatch.setattr(ranker_training, "select_kind", lambda evaluation, kinds: kinds[0])
    trained = training.train(shop.lake, cutoff=shop.end)
    assert (trained.rankers["new"] is not trained.rankers["both"]) == has_own_ranker
    restored = type(trained).from_bytes(trained.to_bytes())
    assert (restored.rankers["new"] is not restored.rankers["both"]) == has_own_ranker
    assert restored.kinds == trained.kinds


@pytest.mark.parametrize(("enough_before", "selections"), [(True, 2), (False, 1)])
def test_kind_for_new_items_is_selected_on_comparable_rankers(
    shop, options, history, monkeypatch, enough_before, selections
):
    """A trial without a ranker of new items says nothing about the final ranker's kind."""
    evaluations = []
    monkeypatch.setattr(
        ranker_training,
        "select_kind",
        lambda evaluation, kinds: evaluations.append(evaluation) or kinds[0],
    )
    enough = iter([enough_before, True])  # before the last horizon, on all data
    monkeypatch.setattr(ranker_training, "_has_enough_new", lambda examples: next(enough))
    ranker_training.learn_to_rank(history, day_of(shop.end), options)
    assert len(evaluations) == selections
