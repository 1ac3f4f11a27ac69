"""Test the ranker, its base models and the mixture without a ranker."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from retention.recommend.ranking import ranker
from retention.recommend.ranking.base_models import fit_logistic
from retention.recommend.ranking.features import NAMES, Examples
from retention.recommend.ranking.ranker import mixture_scores

pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture(scope="module")
def examples() -> Examples:
    rng = np.random.default_rng(3)
    view = rng.normal(size=(3_000, len(NAMES))).astype(np.float32)
    view[rng.random(view.shape) < 0.2] = np.nan
    view[:, 5] = np.nan  # always missing
    view[:, 6] = 1.0  # constant
    lately = NAMES.index("item_buyers_28")
    view[:, lately] = np.abs(3 * view[:, lately])
    bought = (
        np.nan_to_num(view[:, lately]) + 2 * np.isnan(view[:, 1]) + rng.normal(size=3_000) > 3.5
    )
    return Examples(view, bought, rng.uniform(0.5, 2, 3_000), customers=100)


def test_forest_equals_scikit_learns_predictions(examples, monkeypatch):
    fits = []
    original = HistGradientBoostingClassifier.fit

    def fit(self, view, *args, **options):
        fits.append((self, view))
        return original(self, view, *args, **options)

    monkeypatch.setattr(HistGradientBoostingClassifier, "fit", fit)
    learned = ranker.fit(examples)
    (model, binned) = fits[0]
    np.testing.assert_allclose(
        learned.trees.scores(examples.view), model.decision_function(binned), atol=1e-9
    )


@pytest.mark.parametrize("kind", ranker.KINDS)
def test_each_kind_finds_the_signal_and_survives_its_artefact(examples, kind):
    learned = ranker.fit(examples).with_kind(kind)
    scores = learned.scores(examples.view)
    assert np.isfinite(scores).all()
    assert scores[examples.bought].mean() > scores[~examples.bought].mean() + 0.5
    restored = ranker.Ranker.restore(learned.arrays())
    np.testing.assert_array_equal(restored.scores(examples.view), scores)


def test_logistic_weighs_less_with_more_customers(examples):
    few, many = (ranker.fit(replace(examples, customers=customers)) for customers in (100, 10_000))
    for learned in (few, many):
        mean, trees_and_nets, logistic = (
            learned.with_kind(kind).scores(examples.view)
            for kind in (ranker.ALL, ranker.LEARNED, ranker.SIGNALS)
        )
        np.testing.assert_allclose(
            mean, trees_and_nets + learned.logistic_share * (logistic - trees_and_nets)
        )
    assert few.logistic_share > 0.8
    assert many.logistic_share < 0.05


def test_sampled_examples_keep_their_share_of_customers(examples):
    sample = examples.sample(1_000, seed=0)
    assert len(sample.view) == len(sample.bought) == len(sample.weight) == 1_000
    assert sample.customers == pytest.approx(examples.customers / 3, abs=1)
    assert sample.bought.mean() == pytest.approx(examples.bought.mean(), abs=0.05)
    assert examples.sample(5_000, seed=0) is examples


def test_logistic_only_ranker_has_no_trees_or_nets(examples):
    logistic_only_ranker = ranker.fit(examples, logistic_only=True)
    assert logistic_only_ranker.kinds == (ranker.SIGNALS, ranker.POPULAR)
    restored = ranker.Ranker.restore(logistic_only_ranker.arrays())
    assert restored.kinds == logistic_only_ranker.kinds
    np.testing.assert_array_equal(
        restored.scores(examples.view), logistic_only_ranker.scores(examples.view)
    )


def test_equal_scores_put_the_less_popular_own_item_first(shop, examples):
    from retention.recommend.catalogue import catalogue
    from retention.recommend.evaluation import evaluation_context
    from retention.recommend.history import DAY, read

    history = read(shop.lake, shop.end)
    options = evaluation_context.TrainingOptions(28, 0, "auto", 5, catalogue(shop.lake))
    now = evaluation_context.learn_snapshot(history, shop.end.timestamp() / DAY, options)
    learned = fit_logistic(examples)
    constant_ranker = ranker.Ranker(
        "signals", learned | {"weights": np.zeros_like(learned["weights"])}
    )
    rows = np.arange(20)
    stage = evaluation_context.first_stage(now)
    scores = evaluation_context.two_stage_scorer(now, constant_ranker, stage)(rows)
    bought = now.interactions.bought[rows].toarray() > 0
    known = now.sources.item_stats.column("buyers_28")
    for is_own, line in zip(bought, scores, strict=True):
        own = np.flatnonzero(is_own & np.isfinite(line))
        assert (np.diff(line[own][np.argsort(known[own])]) <= 1e-9).all()
        assert (line[~is_own & np.isfinite(line)] == 0).all()


def test_popularity_decides_for_few_or_old_purchases():
    bought_lately, bought_long_ago, nothing = [0, 0, 4.0], [0, 0, 0.02], [0, 0, 0]
    own = np.array([bought_lately, bought_long_ago, nothing])
    scores = mixture_scores(own, np.zeros((3, 3)), share=np.array([0.6, 0.3, 0.1]))
    np.testing.assert_array_equal(np.argsort(-scores), [[2, 0, 1], [0, 1, 2], [0, 1, 2]])


def test_popularity_does_not_revive_returned_items():
    scores = mixture_scores(np.array([[-0.05, 0.0]]), np.zeros((1, 2)), share=np.array([0.9, 0.1]))
    assert scores[0, 0] < 0 < scores[0, 1]


def test_mixture_without_recent_sales_adds_own_and_collaborative():
    own, others = np.array([[1.0, 0, 0]]), np.array([[0, 0, 0.5]])
    np.testing.assert_array_equal(mixture_scores(own, others, share=np.zeros(3)), [[1, 0, 0.5]])
