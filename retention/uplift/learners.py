"""Learners of uplift behind one contract: `fit` on a randomised campaign, `predict` each customer's uplift.

All take a DataFrame of what was known before sending: numbers (missing values as NaN) and words. Imputation, scaling
and one-hot coding live inside, fitted with the model. The propensity is known, for the arms were drawn.

References
----------
Künzel, Sekhon, Bickel & Yu 2019 (S- and T-learner); Kent et al. 2020 (risk and effect modelling); Jaśkowski & Jaroszewicz 2012 (class transformation);
Kennedy 2023 (doubly robust).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from retention.errors import TooLittleData
from retention.features.transforms import signed_log
from retention.text import gettext

RARE = 0.001  # share of customers below which a word shares its column with the other rare ones
SMALLEST_CELL = 5  # customers that each arm needs with, and without, the outcome
WIDE = 0.3  # `EffectModelling`: prior variance of main effects and of the risk's say in the effect
TRUSTS = (
    0.1,
    0.001,
)  # of each column's: customers differ in many ways; in hardly more than their risk


def encoder() -> ColumnTransformer:
    """Columns → a dense matrix: numbers filled, tamed and scaled, words one-hot."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        FunctionTransformer(signed_log),
        StandardScaler(),
    )
    words = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=RARE, sparse_output=False
    )
    number = make_column_selector(dtype_include=["number", "bool"])
    word = make_column_selector(dtype_exclude=["number", "bool"])
    return ColumnTransformer(
        [("numbers", numbers, number), ("words", words, word)], sparse_threshold=0
    )


class UpliftLearner(BaseEstimator):
    """The contract: ``fit(X, outcome, treated, propensity)``, then ``predict(X)``."""

    def fit(
        self,
        X: pd.DataFrame,
        outcome: np.ndarray,
        treated: np.ndarray,
        propensity: np.ndarray | float,
    ) -> "UpliftLearner":
        """Learn from a randomised campaign.

        Parameters
        ----------
        X : DataFrame of shape (n, k)
            Known before sending.
        outcome, treated : ndarray of shape (n,)
            0 or 1.
        propensity : float or ndarray of shape (n,)
            P(treated), as the arms were drawn; strictly between 0 and 1.

        Raises
        ------
        TooLittleData
            An arm in which (almost) nobody, or everybody, has the outcome.
        """
        outcome, treated = np.asarray(outcome, float), np.asarray(treated, float)
        check_cells(outcome, treated)
        share = np.broadcast_to(np.asarray(propensity, float), outcome.shape)
        self.encoder_ = encoder().fit(X)
        self.learn(self.encoder_.transform(X), outcome, treated, share)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """P(outcome | treated) − P(outcome | not), (n,)."""
        return self.uplift(self.encoder_.transform(X))

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        """`fit` on what the encoder has made of the features: (n, m), with (n,) outcome, treated, propensity."""
        raise NotImplementedError

    def uplift(self, X: np.ndarray) -> np.ndarray:
        """`predict` of what the encoder has made of the features."""
        raise NotImplementedError


class RiskModelling(UpliftLearner):
    """Uplift as a function of one score: the outcome's log-odds s whatever the arm, then y ~ s + t + s t.

    What remains of a T-learner where nothing but the risk moderates the effect, upwards or downwards (Kent et al. 2020).
    """

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.score_ = _logistic(0.1).fit(X, y)
        self.model_ = SLearner(_logistic(100.0))
        self.model_.learn(self._score(X), y, t, e)

    def _score(self, X: np.ndarray) -> np.ndarray:
        return self.score_.decision_function(X)[:, None]

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return self.model_.uplift(self._score(X))


class EffectModelling(UpliftLearner):
    """y ~ X + t + t s + t X with the outcome's log-odds s whatever the arm: an S-learner whose effect may follow the risk.

    Effect modelling with penalties as priors (Kent et al. 2020). A penalty is the variance of a coefficient, in squared
    log-odds a standard deviation (of a word: between its absence and its presence): wide for what a column says of the
    outcome and for t s, narrow for t X, since most columns move no effect. How narrow is a belief about the shop, so
    the mean is taken of several (`TRUSTS`).
    """

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.centre_ = float(e.mean())  # as in `SLearner`
        self.score_ = _logistic(0.1).fit(X, y)
        score = self.score_.decision_function(X)
        self.location_, self.scale_ = float(score.mean()), float(score.std()) or 1.0
        score = self._scaled(score)
        self.models_ = [
            _logistic(WIDE).fit(self._with_arm(X, score, trust, t), y) for trust in TRUSTS
        ]

    def _scaled(self, score: np.ndarray) -> np.ndarray:
        return ((score - self.location_) / self.scale_)[:, None]

    def _with_arm(
        self, X: np.ndarray, score: np.ndarray, trust: float, t: np.ndarray
    ) -> np.ndarray:
        arm = (t - self.centre_)[:, None]
        # A column times f has a coefficient of 1 / f, so that one penalty of WIDE is one of WIDE f² to it.
        return np.hstack([X, 3.0 * arm, score * arm, np.sqrt(trust / WIDE) * X * arm])

    def uplift(self, X: np.ndarray) -> np.ndarray:
        score = self._scaled(self.score_.decision_function(X))
        found = [
            _between_arms(model, partial(self._with_arm, X, score, trust), len(X))
            for trust, model in zip(TRUSTS, self.models_, strict=True)
        ]
        return np.mean(found, axis=0)


class ClassTransformation(UpliftLearner):
    """One classifier of Z = outcome where treated, no outcome where not, weighted by 1 / P(own arm).

    Then E[Z] = (p₁ + 1 − p₀) / 2, so the uplift is 2 P(Z) − 1.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        weight = 1 / np.where(t == 1, e, 1 - e)
        self.model_ = _sized(self.model, len(y)).fit(
            X, np.where(t == 1, y, 1 - y), sample_weight=weight / weight.mean()
        )

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return 2 * self.model_.predict_proba(X)[:, 1] - 1


class SLearner(UpliftLearner):
    """One classifier that knows the arm, with the arm's interactions with every column."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.centre_ = float(e.mean())
        self.model_ = _sized(self.model, len(y)).fit(self._with_arm(X, t), y)

    def _with_arm(self, X: np.ndarray, t: np.ndarray) -> np.ndarray:
        # Centred, so that shrinking the interactions leaves the main effects be.
        arm = (t - self.centre_)[:, None]
        return np.hstack([X, arm, X * arm])

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return _between_arms(self.model_, partial(self._with_arm, X), len(X))


class TLearner(UpliftLearner):
    """One classifier an arm."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.models_ = [_sized(self.model, len(y)).fit(X[t == arm], y[t == arm]) for arm in (1, 0)]

    def uplift(self, X: np.ndarray) -> np.ndarray:
        one, none = (model.predict_proba(X)[:, 1] for model in self.models_)
        return one - none


class DoublyRobust(UpliftLearner):
    """A regression of `robust_effects`, whose mean is the uplift."""

    def __init__(self, nuisance: Any, model: Any, folds: int = 2) -> None:
        self.nuisance = nuisance
        self.model = model
        self.folds = folds

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.model_ = _sized(self.model, len(y)).fit(
            X, robust_effects(X, y, t, e, self.nuisance, self.folds)
        )

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return self.model_.predict(X)


def robust_effects(
    X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray, nuisance: Any = None, folds: int = 2
) -> np.ndarray:
    """ψ = μ₁ − μ₀ + t (y − μ₁) / e − (1 − t) (y − μ₀) / (1 − e) of each customer, (n,); its mean is the uplift.

    ``μ`` are predicted out of fold, so that no customer's own outcome is in them; the known e makes ψ unbiased
    whatever they say, and the better they are the less it scatters.
    """
    mu = np.empty((2, len(y)))
    cells = (2 * t + y).astype(int)
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(X, cells):
        for arm in (0, 1):
            own = train[t[train] == arm]
            model = _logistic() if nuisance is None else clone(nuisance)
            mu[arm, test] = model.fit(X[own], y[own]).predict_proba(X[test])[:, 1]
    return mu[1] - mu[0] + t * (y - mu[1]) / e - (1 - t) * (y - mu[0]) / (1 - e)


class Mean(UpliftLearner):
    """The mean of other learners' uplift: what each gets wrong in its own way averages out.

    Parameters
    ----------
    members : tuple of str
        Names of `LEARNERS`.
    """

    def __init__(self, members: tuple[str, ...]) -> None:
        self.members = members

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.models_ = [LEARNERS[name]() for name in self.members]
        for model in self.models_:
            model.learn(X, y, t, e)

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return np.mean([model.uplift(X) for model in self.models_], axis=0)


class Risk(UpliftLearner):
    """Not uplift but risk: how unlikely the outcome is without an offer. What the field mostly ranks by."""

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.model_ = _logistic().fit(X[t == 0], y[t == 0])

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return -self.model_.predict_proba(X)[:, 1]


def check_cells(outcome: np.ndarray, treated: np.ndarray) -> None:
    """Raise `TooLittleData` where an arm has fewer than `SMALLEST_CELL` with, or without, the outcome."""
    for arm, name in ((1, "treated"), (0, "control")):
        own = outcome[treated == arm]
        having = int(own.sum())
        if min(having, len(own) - having) < SMALLEST_CELL:
            raise TooLittleData(
                gettext(
                    "Of {count:,} {name} customers {having:,} have the outcome; uplift needs at "
                    "least {smallest_cell} with it and {smallest_cell} without it in either arm. "
                    "Take more customers, a longer window or an outcome that is more frequent."
                ).format(count=len(own), name=name, having=having, smallest_cell=SMALLEST_CELL)
            )


def _between_arms(
    model: Any, with_arm: Callable[[np.ndarray], np.ndarray], customers: int
) -> np.ndarray:
    """What a model that knows the arm says of all as treated, less what it says of all as not."""
    one, none = (model.predict_proba(with_arm(np.full(customers, arm)))[:, 1] for arm in (1.0, 0.0))
    return one - none


def _logistic(C: float = 1.0) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=2000)


def _boosting() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=60,
        learning_rate=0.05,
        max_leaf_nodes=8,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=0,
    )


def _sized(model: Any, customers: int) -> Any:
    """A fresh copy of a model; leaves of trees hold a hundredth of the customers, for uplift is a faint signal."""
    copy = clone(model)
    if "min_samples_leaf" in copy.get_params():
        copy.set_params(min_samples_leaf=max(20, customers // 100))
    return copy


# The first is the usual one: another is chosen only where it is clearly better.
LEARNERS: Mapping[str, Callable[[], UpliftLearner]] = {
    "effect_modelling": EffectModelling,
    "risk_modelling": RiskModelling,
    "s_logistic": lambda: SLearner(_logistic(0.1)),
    "class_transformation": lambda: ClassTransformation(_logistic(0.1)),
    "t_logistic": lambda: TLearner(_logistic(0.1)),
    "dr_ridge": lambda: DoublyRobust(_logistic(), Ridge(alpha=100.0)),
    "dr_boosting": lambda: DoublyRobust(_logistic(), _boosting()),
    "mean": lambda: Mean(("class_transformation", "s_logistic", "dr_boosting")),
}
