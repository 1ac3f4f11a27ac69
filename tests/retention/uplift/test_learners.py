"""Test that every learner finds an existing uplift, is deterministic and accepts real tables."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import clone

from retention.errors import TooLittleData
from retention.uplift.learners import LEARNERS, DoublyRobust, RiskBaseline
from tests.retention.uplift.hillstrom import ARMS, FEATURES, against

pytestmark = pytest.mark.nightly

EVERY = pytest.mark.parametrize("name", LEARNERS)


@pytest.fixture(scope="module")
def womens():
    """Return the women's e-mail with a third treated, and the true uplift."""
    table, uplift = against(ARMS[1], customers=9_000, seed=3)
    rng = np.random.default_rng(0)
    keep = (table["treated"] == 0) | (rng.random(len(table)) < 0.5)
    return table[keep].reset_index(drop=True), uplift[keep]


def _fitted(name, table):
    treated = table["treated"].to_numpy()
    learner = LEARNERS[name]()
    return learner.fit(table[list(FEATURES)], table["visit"].to_numpy(), treated, treated.mean())


@EVERY
def test_predictions_correlate_with_true_uplift(name, womens):
    table, uplift = womens
    train, test = table.iloc[:3000], table.iloc[3000:]
    predicted = _fitted(name, train).predict(test[list(FEATURES)])
    assert predicted.shape == (len(test),)
    assert np.isfinite(predicted).all()
    assert np.abs(predicted).max() <= 1
    if name != "risk_modelling":  # it does not see women's goods
        assert np.corrcoef(predicted, uplift[3000:])[0, 1] > 0.5
    assert predicted.mean() == pytest.approx(uplift[3000:].mean(), abs=0.03)


def _correlations(seed, level, effect, *names) -> list[float]:
    """Correlate predictions of learners with a simulated effect.

    ``effect`` computes it in log-odds, from the risk and a column without one.
    """
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(4000, 20)), columns=[f"column {n}" for n in range(20)])
    risk, moderator = X.iloc[:, :4].sum(axis=1).to_numpy(), X.iloc[:, 4].to_numpy()
    treated = rng.binomial(1, 0.5, len(X)).astype(float)
    p_control, p_treated = (
        expit(level + 0.4 * risk + arm * effect(risk, moderator)) for arm in (0, 1)
    )
    outcome = rng.binomial(1, np.where(treated == 1, p_treated, p_control)).astype(float)
    uplift = (p_treated - p_control)[1500:]
    fits = [LEARNERS[name]().fit(X[:1500], outcome[:1500], treated[:1500], 0.5) for name in names]
    return [np.corrcoef(fitted.predict(X[1500:]), uplift)[0, 1] for fitted in fits]


def test_effect_modelling_finds_an_effect_that_follows_the_risk():
    def effect(risk, _):
        return 0.3 + 0.3 * risk

    by_seed = [
        _correlations(seed, -1.5, effect, "effect_modelling", "s_logistic") for seed in range(6)
    ]
    assert all(own > other + 0.05 for own, other in by_seed)
    assert np.mean([own for own, _ in by_seed]) > 0.85


def test_effect_modelling_finds_an_effect_that_follows_a_column():
    """A single narrow prior variance recovered only half of this effect."""

    def effect(_, moderator):
        return 0.3 + 0.8 * moderator

    found = [_correlations(seed, -0.5, effect, "effect_modelling") for seed in range(3)]
    assert min(found)[0] > 0.7


@pytest.mark.parametrize("value", [0.1, np.nan])
def test_constant_features_predict_the_average_effect(value):
    """The risk score is constant here and has no scale."""
    rng = np.random.default_rng(0)
    treated = rng.binomial(1, 0.8, 2001).astype(float)
    outcome = rng.binomial(1, 0.2 + 0.1 * treated).astype(float)
    X = pd.DataFrame({"number": np.full(2001, value), "word": "same"})
    predicted = LEARNERS["effect_modelling"]().fit(X, outcome, treated, 0.8).predict(X)
    average = outcome[treated == 1].mean() - outcome[treated == 0].mean()
    assert predicted == pytest.approx(np.full(2001, average), abs=0.002)


@EVERY
def test_predictions_do_not_depend_on_row_order(name, womens):
    table = womens[0].iloc[:1000]
    first, second = (_fitted(name, table) for _ in range(2))
    X = table[list(FEATURES)]
    np.testing.assert_allclose(first.predict(X), second.predict(X.iloc[::-1])[::-1], atol=1e-12)


@EVERY
def test_accepts_missing_values_new_words_and_propensities(name, womens):
    table = womens[0].iloc[:1000]
    history = table["history"].where(table["newbie"] == 0)
    X = table[list(FEATURES)].assign(history=history, nothing=np.nan)
    visit, treated = table["visit"].to_numpy(), table["treated"].to_numpy()
    learner = clone(LEARNERS[name]()).fit(X, visit, treated, np.full(len(X), treated.mean()))
    unusual = X.head(3).assign(channel="Carrier pigeon", recency=np.nan)
    assert np.isfinite(learner.predict(unusual)).all()


@EVERY
@pytest.mark.parametrize("visits", [0, 1])
def test_rejects_arm_with_a_single_outcome(name, visits, womens):
    table = womens[0].iloc[:500].copy()
    table.loc[table["treated"] == 0, "visit"] = visits
    with pytest.raises(TooLittleData, match="control customers"):
        _fitted(name, table)


def test_doubly_robust_is_unbiased_with_a_useless_nuisance_model(womens):
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import Ridge

    table, all_uplift = against(ARMS[1], customers=40_000, seed=8)
    rng = np.random.default_rng(1)
    share = np.where(table["womens"] == 1, 0.8, 0.2)  # known, unequal propensities
    keep = rng.random(len(table)) < np.where(table["treated"] == 1, share, 1 - share)
    uneven, uplift = table[keep], all_uplift[keep]
    treated, visit = uneven["treated"].to_numpy(), uneven["visit"].to_numpy()
    learner, X = DoublyRobust(DummyClassifier(), Ridge(alpha=1.0)), uneven[list(FEATURES)]
    predicted = learner.fit(X, visit, treated, share[keep]).predict(X)
    assert predicted.mean() == pytest.approx(uplift.mean(), abs=0.015)
    difference_in_means = visit[treated == 1].mean() - visit[treated == 0].mean()
    assert abs(difference_in_means - uplift.mean()) > 0.01  # the bias that the propensity corrects


def test_risk_baseline_uses_only_control_customers(womens):
    table = womens[0].iloc[:4000]
    X, y, t = table[list(FEATURES)], table["visit"].to_numpy(), table["treated"].to_numpy()
    shuffled = y.copy()
    shuffled[t == 1] = np.random.default_rng(0).permutation(shuffled[t == 1])
    first, second = (RiskBaseline().fit(X, each, t, 0.5).predict(X) for each in (y, shuffled))
    np.testing.assert_array_equal(first, second)
