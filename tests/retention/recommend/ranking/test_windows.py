"""What the ranker learns from: several past horizons, each seen as it was then; and when another kind of ranking is preferred."""

from dataclasses import replace

import numpy as np
import pytest

from retention.recommend import training
from retention.recommend.catalogue import catalogue
from retention.recommend.history import day_of, read
from retention.recommend.metrics import RankingMetrics
from retention.recommend.ranking import recipe, windows
from retention.recommend.ranking.features import NAMES
from retention.recommend.ranking.ranker import Examples

pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture(scope="module")
def asked(shop) -> windows.Asked:
    return windows.Asked(28, 0, "auto", 5, catalogue(shop.lake, in_stock_only=False))


@pytest.fixture(scope="module")
def history(shop):
    return read(shop.lake, shop.end)


def test_a_window_is_the_same_whatever_came_after_it(shop, asked, history):
    end = day_of(shop.end) - 28
    known_later = windows.window(history, end, asked)
    at_its_end = windows.window(history.before(end), end, asked)
    assert known_later.start == end - 28
    np.testing.assert_array_equal(known_later.active, at_its_end.active)
    rows = known_later.active[:40]
    later, then = (windows.examples(one, rows, seed=3) for one in (known_later, at_its_end))
    np.testing.assert_array_equal(later.view, then.view)
    np.testing.assert_array_equal(later.bought, then.bought)


def test_what_was_bought_in_a_window_is_no_feature_of_it(shop, asked, history):
    """The same view whether or not the window itself is known; only the labels differ."""
    end = day_of(shop.end)
    whole = windows.window(history, end, asked)
    half = windows.window(history.before(end - 14), end, asked)
    np.testing.assert_array_equal(
        whole.then.sources.item_stats.facts, half.then.sources.item_stats.facts
    )
    np.testing.assert_array_equal(whole.then.scene.people, half.then.scene.people)
    assert whole.real.sum() > half.real.sum()


def test_before_the_first_event_there_is_no_window(shop, asked, history):
    assert windows.window(history, day_of(shop.begin) + 28, asked) is None


def test_horizons_go_back_as_far_as_enough_customers_bought_in_them(shop, asked, history):
    last = day_of(shop.end)
    assert windows.horizons(history, last, asked) == [last - 28, last]
    begin = day_of(shop.begin)
    assert windows.horizons(history, begin + 28, asked) == []
    few = history.of(np.arange(windows.FEWEST_IN_HORIZON - 1))
    assert windows.horizons(few, last, asked) == []


def test_three_horizons_are_learned_from_and_each_is_first_judged_by_what_the_earlier_ones_taught(
    shop, asked, history, monkeypatch
):
    """Its own purchases must not have been learned from when a horizon is judged."""
    learned, judged = [], []
    gather, judge = recipe.examples, recipe._judge

    def gathered(found, *args, **options):
        learned.append(found.start)
        return gather(found, *args, **options)

    def judging(found, *args, **options):
        judged.append((found.start, tuple(learned)))
        return judge(found, *args, **options)

    monkeypatch.setattr(recipe, "examples", gathered)
    monkeypatch.setattr(recipe, "_judge", judging)
    last = day_of(shop.end)
    assert recipe.learn_to_rank(history, last, asked).rankers
    assert learned == [last - 84, last - 56, last - 28]
    assert judged == [(last - 56, (last - 84,)), (last - 28, (last - 84, last - 56))]


def test_a_single_horizon_is_judged_by_customers_who_were_not_learned_from(
    shop, asked, history, monkeypatch
):
    learned, judged = [], []
    gather, judge = recipe.examples, recipe._judge
    monkeypatch.setattr(
        recipe,
        "examples",
        lambda found, rows, *a, **k: learned.append(set(rows)) or gather(found, rows, *a, **k),
    )
    monkeypatch.setattr(
        recipe, "_judge", lambda found, rows, *a: judged.append(set(rows)) or judge(found, rows, *a)
    )
    early = day_of(shop.begin) + 50
    assert recipe.learn_to_rank(history.before(early), early, asked).metrics
    assert len(judged) == 1
    assert not judged[0] & learned[-1]


def test_a_horizon_in_which_nothing_known_was_bought_is_passed_over(
    shop, asked, history, monkeypatch
):
    """As where people only looked at first: customers bought, but nothing that stood on the shelf."""
    last = day_of(shop.end)
    whole = recipe.window

    def window(history, end, asked, *rest):
        found = whole(history, end, asked, *rest)
        return found if end == last else replace(found, active=found.active[:0])

    monkeypatch.setattr(recipe, "window", window)
    assert recipe.learn_to_rank(history, last, asked).rankers


def _judged(**ndcg: np.ndarray) -> dict[str, RankingMetrics]:
    return {
        kind: RankingMetrics(len(each), 0.0, float(each.mean()), 0.0, 0.0, {"ndcg": each})
        for kind, each in ndcg.items()
    }


def test_the_mean_stays_unless_another_is_surely_better_and_in_every_horizon():
    rng = np.random.default_rng(1)
    usual = rng.uniform(size=200)
    noise = usual + rng.normal(0, 0.2, 200)
    noise += usual.mean() - noise.mean() + 1e-4
    kinds = ("all", "learned", "popular")

    def chosen(*horizons: dict[str, RankingMetrics]) -> str:
        return recipe.preferred(horizons, kinds)

    better = _judged(all=usual, learned=noise, popular=usual + 0.05)
    worse = _judged(all=usual, learned=noise, popular=usual - 0.01)
    assert chosen(better) == chosen(better, better) == "popular"
    assert chosen(better, worse) == "all"
    assert chosen(_judged(all=usual, learned=noise, popular=usual)) == "all"
    assert chosen({}) == "all"


@pytest.fixture(scope="module")
def learned(shop, asked, history) -> Examples:
    found = windows.window(history, day_of(shop.end), asked)
    return windows.examples(found, found.active, seed=0)


def _with_own(learned: Examples, bought: bool) -> Examples:
    """As if everything, or nothing, of what customers had bought before had been bought again."""
    before = learned.view[:, NAMES.index("days")] > 0
    return replace(learned, bought=np.where(before, bought, learned.bought))


def test_lists_of_new_items_are_ranked_by_what_was_learned_from_new_items(learned):
    assert 0 < learned.new.bought.sum() < learned.bought.sum()
    one, other = (
        recipe._fitted(_with_own(learned, again), 0, few=False, apart=True)
        for again in (True, False)
    )
    view = learned.new.view
    np.testing.assert_array_equal(one["new"].scores(view), other["new"].scores(view))
    assert not np.allclose(one["both"].scores(view), other["both"].scores(view))


@pytest.mark.parametrize("apart", [True, False])
def test_where_hardly_anything_new_is_bought_one_ranker_ranks_both(shop, monkeypatch, apart):
    monkeypatch.setattr(recipe, "FEWEST_NEW", 1 if apart else 10**9)
    trained = training.train(shop.lake, cutoff=shop.end)
    assert (trained.rankers["new"] is not trained.rankers["both"]) == apart
    again = type(trained).from_bytes(trained.to_bytes())
    assert (again.rankers["new"] is not again.rankers["both"]) == apart
    assert again.kinds == trained.kinds


def test_the_kind_for_new_items_is_chosen_by_judging_rankers_like_the_one_that_is_kept(
    shop, asked, history, monkeypatch
):
    """Earlier horizons alone may hold too little for a ranker of new items; another ranker's figures say nothing of it."""
    counted = []
    monkeypatch.setattr(
        recipe, "preferred", lambda judged, kinds: counted.append(len(judged)) or kinds[0]
    )
    few_new = iter([False, True, True])  # before the second horizon, before the third, and of all
    monkeypatch.setattr(recipe, "_apart", lambda learned, few: next(few_new))
    recipe.learn_to_rank(history, day_of(shop.end), asked)
    assert counted == [2, 1]  # of both, of new
