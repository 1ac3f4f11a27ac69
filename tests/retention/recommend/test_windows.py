"""What the ranker learns from: several past windows, each seen as it was then; and when another kind of ranking is preferred."""

from datetime import timedelta

import numpy as np
import pytest

from retention.recommend import training, windows
from retention.recommend.catalogue import catalogue
from retention.recommend.history import day_of, read


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
    np.testing.assert_array_equal(whole.then.learned.shelf.facts, half.then.learned.shelf.facts)
    np.testing.assert_array_equal(whole.then.scene.people, half.then.scene.people)
    assert whole.real.sum() > half.real.sum()


def test_before_the_first_event_there_is_no_window(shop, asked, history):
    assert windows.window(history, day_of(shop.begin) + 28, asked) is None


def test_the_ranker_learns_from_three_windows_and_stops_where_history_does(shop, asked, history, monkeypatch):
    seen = []
    original = windows.window

    def watched(history, end, asked, progress=None):
        found = original(history, end, asked)
        seen.append(None if found is None else found.start)
        return found

    monkeypatch.setattr(training, "window", watched)
    trained = training.train(shop.lake, cutoff=shop.end)
    assert trained.ranker is not None
    last = day_of(shop.end)
    assert seen == [last - 28, last - 56, last - 84]
    seen.clear()
    assert training.train(shop.lake, cutoff=shop.begin + timedelta(days=50)).ranker is None
    assert seen == [day_of(shop.begin) + 22]


def test_the_mean_of_trees_and_nets_stays_unless_another_is_clearly_better():
    rng = np.random.default_rng(1)
    both = rng.uniform(size=200)
    noise = np.clip(both + rng.normal(0, 0.2, 200), 0, 1)
    assert training._preferred({"both": both, "trees": noise - noise.mean() + both.mean() + 1e-4}) == "both"
    assert training._preferred({"both": both, "mixture": both + 0.05}) == "mixture"
    assert training._preferred({"mixture": both}) == "mixture"


def test_where_nobody_has_a_taste_the_mixture_learns_to_offer_what_is_popular(tmp_path):
    """Everybody draws from the same few hits: one's own purchases say nothing, and popularity is the best baseline."""
    import pandas as pd

    from retention.lake.importing import import_files
    from retention.recommend import evaluate
    from tests import shop as tiny

    shop = tiny.build(tmp_path / "home", customers=8, items=6, days=10)
    rng = np.random.default_rng(5)
    liked = 1 / np.arange(1, 41)
    rows = pd.DataFrame(
        {
            "customer_id": [f"p{number % 70:02d}" for number in range(2_500)],
            "item_id": [f"h{number:02d}" for number in rng.choice(40, 2_500, p=liked / liked.sum())],
            "occurred_at": pd.Timestamp(shop.begin)
            + pd.to_timedelta(rng.uniform(0, 150, 2_500).round(3), unit="D"),
        }
    ).assign(event_type="purchase", amount=1.0, quantity=1, currency="EUR", source="shop")
    rows.to_parquet(tmp_path / "hits.parquet")
    import_files(shop.lake, shop.database, shop.settings, "events", [str(tmp_path / "hits.parquet")])
    found = evaluate(shop.lake, cutoff=shop.begin + timedelta(days=122))
    assert found["tuned"]["how"] == "mixture"
    assert found["parameters"]["popularity"] >= 0.1
    assert found["metrics"]["ndcg"] > max(one["ndcg"] for one in found["baselines"].values()) - 0.02
