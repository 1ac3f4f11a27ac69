"""The second stage: the trees kept as plain arrays answer as scikit-learn's own, and nothing needs a full column."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from retention.recommend.ranking import ranker, signals
from retention.recommend.ranking.features import NAMES

pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture(scope="module")
def examples() -> ranker.Examples:
    rng = np.random.default_rng(3)
    view = rng.normal(size=(3_000, len(NAMES))).astype(np.float32)
    view[rng.random(view.shape) < 0.2] = np.nan
    view[:, 5] = np.nan  # nobody has it
    view[:, 6] = 1.0  # everybody has it
    lately = NAMES.index("item_buyers_28")
    view[:, lately] = np.abs(3 * view[:, lately])
    bought = (
        np.nan_to_num(view[:, lately]) + 2 * np.isnan(view[:, 1]) + rng.normal(size=3_000) > 3.5
    )
    return ranker.Examples(view, bought, rng.uniform(0.5, 2, 3_000), customers=100)


def test_the_trees_answer_as_scikit_learns_own(examples, monkeypatch):
    kept = []
    original = HistGradientBoostingClassifier.fit

    def fit(self, view, *args, **options):
        kept.append((self, view))
        return original(self, view, *args, **options)

    monkeypatch.setattr(HistGradientBoostingClassifier, "fit", fit)
    learned = ranker.fit(examples)
    (model, binned) = kept[0]
    np.testing.assert_allclose(
        learned.trees.scores(examples.view), model.decision_function(binned), atol=1e-9
    )


@pytest.mark.parametrize("kind", ranker.KINDS)
def test_each_kind_finds_what_decides_and_survives_its_artefact(examples, kind):
    learned = ranker.fit(examples).of(kind)
    scores = learned.scores(examples.view)
    assert np.isfinite(scores).all()
    assert scores[examples.bought].mean() > scores[~examples.bought].mean() + 0.5
    again = ranker.Ranker.restore(learned.arrays())
    np.testing.assert_array_equal(again.scores(examples.view), scores)


def test_the_more_customers_there_are_the_less_the_few_signals_count(examples):
    few, many = (ranker.fit(replace(examples, customers=customers)) for customers in (100, 10_000))
    for learned in (few, many):
        mean, all_of_it, steady = (
            learned.of(kind).scores(examples.view)
            for kind in (ranker.ALL, ranker.LEARNED, ranker.SIGNALS)
        )
        np.testing.assert_allclose(mean, all_of_it + learned.steady * (steady - all_of_it))
    assert few.steady > 0.8
    assert many.steady < 0.05


def test_examples_drawn_keep_their_share_of_the_customers(examples):
    some = examples.drawn(1_000, seed=0)
    assert len(some.view) == len(some.bought) == len(some.weight) == 1_000
    assert some.customers == pytest.approx(examples.customers / 3, abs=1)
    assert some.bought.mean() == pytest.approx(examples.bought.mean(), abs=0.05)
    assert examples.drawn(5_000, seed=0) is examples


def test_where_there_is_little_only_the_few_signals_are_learned(examples):
    few = ranker.fit(examples, few=True)
    assert few.kinds == (ranker.SIGNALS, ranker.POPULAR)
    again = ranker.Ranker.restore(few.arrays())
    assert again.kinds == few.kinds
    np.testing.assert_array_equal(again.scores(examples.view), few.scores(examples.view))


def test_of_two_equally_likely_things_a_customer_buys_the_less_known_comes_first(shop, examples):
    from retention.recommend import evaluation_context
    from retention.recommend.catalogue import catalogue
    from retention.recommend.history import DAY, read

    history = read(shop.lake, shop.end)
    now = evaluation_context.learn_snapshot(
        history, shop.end.timestamp() / DAY, catalogue(shop.lake), min_buyers=5
    )
    learned = signals.fit(examples)
    indifferent = ranker.Ranker("signals", learned | {"weights": np.zeros_like(learned["weights"])})
    rows = np.arange(20)
    scores = evaluation_context.two_stage_scorer(now, indifferent)(rows)
    bought = now.bought[rows].toarray() > 0
    known = now.sources.item_stats.column("buyers_28")
    for mine, line in zip(bought, scores, strict=True):
        own = np.flatnonzero(mine & np.isfinite(line))
        assert (np.diff(line[own][np.argsort(known[own])]) <= 1e-9).all()
        assert (line[~mine & np.isfinite(line)] == 0).all()
