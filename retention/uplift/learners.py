"""Fit uplift learners on a randomised campaign.

All take a DataFrame of features known before sending: numbers (missing values as NaN) and words.
Imputation, scaling and one-hot encoding are part of the model. The propensity is known because
treatment is randomised.

References
----------
Künzel, Sekhon, Bickel & Yu 2019 (S- and T-learner); Kent et al. 2020 (risk and effect modelling);
Jaśkowski & Jaroszewicz 2012 (class transformation); Kennedy 2023 (doubly robust).
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
from retention.features.catalogue import signed_log
from retention.text import gettext

MIN_WORD_SHARE = 0.001  # of customers; rarer words share one column
MIN_CELL = 5  # customers with, and without, the outcome in each arm
# Prior variances of `EffectModelling`: of main effects and the interaction with the risk; and of
# the interaction with each column, for customers who differ in many ways or in risk only.
WIDE_VARIANCE = 0.3
INTERACTION_VARIANCES = (0.1, 0.001)


def encoder() -> ColumnTransformer:
    """Create a transformer to a dense matrix.

    It imputes and scales numbers and one-hot encodes words.
    """
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        FunctionTransformer(signed_log),
        StandardScaler(),
    )
    words = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=MIN_WORD_SHARE, sparse_output=False
    )
    kinds = ["number", "bool"]
    is_number = make_column_selector(dtype_include=kinds)
    is_word = make_column_selector(dtype_exclude=kinds)
    parts = [("numbers", numbers, is_number), ("words", words, is_word)]
    return ColumnTransformer(parts, sparse_threshold=0)


class UpliftLearner(BaseEstimator):
    """Define the interface of uplift learners.

    It is ``fit(X, outcome, treated, propensity)``, ``predict(X)``.
    """

    def fit(
        self, X: pd.DataFrame, outcome: np.ndarray, treated: np.ndarray, propensity: Any
    ) -> "UpliftLearner":
        """Fit on a randomised campaign.

        Parameters
        ----------
        X : DataFrame of shape (n, k)
            Features known before sending.
        outcome, treated : ndarray of shape (n,)
            0 or 1.
        propensity : float or ndarray of shape (n,)
            P(treated) by design; strictly between 0 and 1.

        Raises
        ------
        TooLittleData
            In an arm, (almost) no customer or every customer has the outcome.
        """
        outcome, treated = np.asarray(outcome, float), np.asarray(treated, float)
        check_cells(outcome, treated)
        share = np.broadcast_to(np.asarray(propensity, float), outcome.shape)
        self.encoder_ = encoder().fit(X)
        self.learn(self.encoder_.transform(X), outcome, treated, share)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Predict P(outcome | treated) − P(outcome | not), (n,)."""
        return self.uplift(self.encoder_.transform(X))

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        """Fit on encoded features.

        Parameters
        ----------
        X : ndarray of shape (n, m)
        y, t, e : ndarray of shape (n,)
            Outcome, treated, propensity.
        """
        raise NotImplementedError

    def uplift(self, X: np.ndarray) -> np.ndarray:
        """Predict uplift from encoded features."""
        raise NotImplementedError


class RiskModelling(UpliftLearner):
    """Model uplift as a function of risk.

    y ~ s + t + s t. s is the log-odds of the outcome regardless of treatment. This is the part of a
    T-learner that remains if only the risk moderates the effect, in either direction (Kent et al.
    2020).
    """

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.score_ = logistic(0.1).fit(X, y)
        self.model_ = SLearner(logistic(100.0))
        self.model_.learn(self._score(X), y, t, e)

    def _score(self, X: np.ndarray) -> np.ndarray:
        return self.score_.decision_function(X)[:, None]

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return self.model_.uplift(self._score(X))


class EffectModelling(UpliftLearner):
    """Model effects that may follow the risk.

    y ~ X + t + t s + t X, an S-learner with a risk score. s is the log-odds of the outcome
    regardless of treatment. Penalties act as priors (Kent et al. 2020): a penalty is the variance
    of a coefficient, in squared log-odds per standard deviation (of a word: between absence and
    presence). It is wide for main effects and t s, narrow for t X, since most columns do not change
    the effect. The right width depends on the shop, so predictions are averaged over several
    (`INTERACTION_VARIANCES`).
    """

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.centre_ = float(e.mean())  # as in `SLearner`
        self.score_ = logistic(0.1).fit(X, y)
        score = self.score_.decision_function(X)
        self.location_, self.scale_ = float(score.mean()), float(score.std()) or 1.0
        score = self._scaled(score)
        self.models_ = [
            logistic(WIDE_VARIANCE).fit(self._with_arm(X, score, variance, t), y)
            for variance in INTERACTION_VARIANCES
        ]

    def _scaled(self, score: np.ndarray) -> np.ndarray:
        return ((score - self.location_) / self.scale_)[:, None]

    def _with_arm(
        self, X: np.ndarray, score: np.ndarray, variance: float, t: np.ndarray
    ) -> np.ndarray:
        arm = (t - self.centre_)[:, None]
        # Scaling a column by f gives its coefficient the prior variance WIDE_VARIANCE f².
        return np.hstack([X, 3.0 * arm, score * arm, np.sqrt(variance / WIDE_VARIANCE) * X * arm])

    def uplift(self, X: np.ndarray) -> np.ndarray:
        score = self._scaled(self.score_.decision_function(X))
        predictions = [
            _arm_difference(model, partial(self._with_arm, X, score, variance), len(X))
            for variance, model in zip(INTERACTION_VARIANCES, self.models_, strict=True)
        ]
        return np.mean(predictions, axis=0)


class OneModelLearner(UpliftLearner):
    """Define learners that fit a kind of model."""

    def __init__(self, model: Any) -> None:
        self.model = model


class ClassTransformation(OneModelLearner):
    """Classify the transformed outcome Z.

    Z is the outcome if treated, no outcome if not, weighted by 1 / P(own arm). Since E[Z] = (p₁ + 1
    − p₀) / 2, the uplift is 2 P(Z) − 1.
    """

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        weight, z = 1 / np.where(t == 1, e, 1 - e), np.where(t == 1, y, 1 - y)
        self.model_ = _clone_for_size(self.model, len(y))
        self.model_.fit(X, z, sample_weight=weight / weight.mean())

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return 2 * self.model_.predict_proba(X)[:, 1] - 1


class SLearner(OneModelLearner):
    """Fit one classifier with arm interactions. The arm interacts with every column."""

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.centre_ = float(e.mean())
        self.model_ = _clone_for_size(self.model, len(y)).fit(self._with_arm(X, t), y)

    def _with_arm(self, X: np.ndarray, t: np.ndarray) -> np.ndarray:
        # Centred: shrinking the interactions then keeps the main effects.
        arm = (t - self.centre_)[:, None]
        return np.hstack([X, arm, X * arm])

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return _arm_difference(self.model_, partial(self._with_arm, X), len(X))


class TLearner(OneModelLearner):
    """Fit one classifier per arm."""

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.models_ = [
            _clone_for_size(self.model, len(y)).fit(X[t == arm], y[t == arm]) for arm in (1, 0)
        ]

    def uplift(self, X: np.ndarray) -> np.ndarray:
        treated, control = (model.predict_proba(X)[:, 1] for model in self.models_)
        return treated - control


class DoublyRobust(UpliftLearner):
    """Regress doubly robust effects on features."""

    def __init__(self, nuisance: Any, model: Any) -> None:
        self.nuisance, self.model = nuisance, model

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        effects = doubly_robust_effects(X, y, t, e, self.nuisance)
        self.model_ = _clone_for_size(self.model, len(y)).fit(X, effects)

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return self.model_.predict(X)


def doubly_robust_effects(
    X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray, nuisance: Any
) -> np.ndarray:
    """Compute doubly robust effects, (n,).

    Their mean is the uplift. ψ = μ₁ − μ₀ + t (y − μ₁) / e − (1 − t) (y − μ₀) / (1 − e). ``μ`` are
    predicted out of fold, without the customer's own outcome. The known e makes ψ unbiased for any
    μ; better μ reduce its variance.

    `y`, `t`, `e`: outcome, treated, propensity.
    `nuisance`: model of μ.
    """
    mu = np.empty((2, len(y)))
    cells = (2 * t + y).astype(int)
    for train, test in StratifiedKFold(2, shuffle=True, random_state=0).split(X, cells):
        for arm in (0, 1):
            rows = train[t[train] == arm]
            model = clone(nuisance).fit(X[rows], y[rows])
            mu[arm, test] = model.predict_proba(X[test])[:, 1]
    return mu[1] - mu[0] + t * (y - mu[1]) / e - (1 - t) * (y - mu[0]) / (1 - e)


class MeanLearner(UpliftLearner):
    """Average the uplift of several learners."""

    def __init__(self, members: tuple[str, ...]) -> None:
        self.members = members

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.models_ = [LEARNERS[name]() for name in self.members]
        for model in self.models_:
            model.learn(X, y, t, e)

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return np.mean([model.uplift(X) for model in self.models_], axis=0)


class RiskBaseline(UpliftLearner):
    """Rank by risk instead of uplift.

    The score is minus the probability of the outcome without an offer.
    """

    def learn(self, X: np.ndarray, y: np.ndarray, t: np.ndarray, e: np.ndarray) -> None:
        self.model_ = logistic().fit(X[t == 0], y[t == 0])

    def uplift(self, X: np.ndarray) -> np.ndarray:
        return -self.model_.predict_proba(X)[:, 1]


def check_cells(outcome: np.ndarray, treated: np.ndarray) -> None:
    """Check the number of customers per cell.

    Both arms need customers with and without the outcome.

    Raises `TooLittleData`: a cell has fewer than `MIN_CELL` customers.
    """
    for arm, name in ((1, "treated"), (0, "control")):
        count, positives = int((treated == arm).sum()), int(outcome[treated == arm].sum())
        if min(positives, count - positives) < MIN_CELL:
            raise TooLittleData(
                gettext(
                    "Of {count:,} {name} customers {positives:,} have the outcome; uplift needs at "
                    "least {min_cell} with it and {min_cell} without it in either arm. "
                    "Take more customers, a longer window or an outcome that is more frequent."
                ).format(count=count, name=name, positives=positives, min_cell=MIN_CELL)
            )


def _arm_difference(
    model: Any, with_arm: Callable[[np.ndarray], np.ndarray], customers: int
) -> np.ndarray:
    """Predict the difference between both arms."""
    treated, control = (
        model.predict_proba(with_arm(np.full(customers, arm)))[:, 1] for arm in (1.0, 0.0)
    )
    return treated - control


def logistic(C: float = 1.0) -> LogisticRegression:
    """Create a logistic regression with an L2 penalty of 1 / C."""
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


def _clone_for_size(model: Any, customers: int) -> Any:
    """Clone a model for a sample size.

    Leaves hold at least a hundredth of the customers because uplift is a weak signal.
    """
    copy = clone(model)
    if "min_samples_leaf" in copy.get_params():
        copy.set_params(min_samples_leaf=max(20, customers // 100))
    return copy


# The first is the default; another is selected only if it is clearly better.
LEARNERS: Mapping[str, Callable[[], UpliftLearner]] = {
    "effect_modelling": EffectModelling,
    "risk_modelling": RiskModelling,
    "s_logistic": lambda: SLearner(logistic(0.1)),
    "class_transformation": lambda: ClassTransformation(logistic(0.1)),
    "t_logistic": lambda: TLearner(logistic(0.1)),
    "dr_ridge": lambda: DoublyRobust(logistic(), Ridge(alpha=100.0)),
    "dr_boosting": lambda: DoublyRobust(logistic(), _boosting()),
    "mean": lambda: MeanLearner(("class_transformation", "s_logistic", "dr_boosting")),
}
