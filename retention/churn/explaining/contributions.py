"""Contributions of features to the log-odds of churn.

For each estimator, base + contributions = margin holds exactly.

- Logistic regression: w · (z − mean z), with z as the input of the classifier. A missing-value
  indicator belongs to its feature.
- Logistic regression on products: half of each product to either feature, which are the Shapley
  values.
- Gradient boosting: SHAP values of the trees (path-dependent), on the log-odds.
- Trees and forests: SHAP values of the probability, converted to log-odds by a secant (see below).
  The cost is leaves × depth² per customer. In large populations the first customers get SHAP
  values and the others path attribution, which is also additive.
- Other horizons (`retention.churn.hazards`): the mean of the two members, as in an ensemble.
- Survival (`retention.churn.hazards`): the contributions of each interval, converted to the
  logarithm of its probability by a secant. They add up to the logarithm of P(churn), which is
  converted to log-odds.
- Other models, such as support-vector machines and neural networks: sampled Shapley values of
  groups of features over antithetic permutations against the median customer. They are additive
  and have a standard error.

An ensemble averages the members' probabilities by weight. Each member's log-odds become
probabilities by the secant of the logistic function, are weighted and added, and become log-odds
by the secant of its inverse. Every step multiplies by a positive number and keeps the sum. The
secant (f(x) − f(b)) / (x − b) converts a contribution to x into one to f(x).

References
----------
Lundberg et al. (2020), From Local Explanations to Global Understanding with Explainable AI for
Trees, Nature Machine Intelligence 2.

Saabas (2014), Interpreting Random Forests (path attribution).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from retention.churn.estimators import (
    SINGLE_THREAD_ROWS,
    ClosedForm,
    LogOdds,
    churn_probability,
    select_columns,
    take_columns,
)
from retention.churn.hazards import Survival
from retention.churn.quadratic import Quadratic

FORESTS = (RandomForestClassifier, ExtraTreesClassifier)
MIN_PROBABILITY = 1e-6  # distance from 0 and 1, as in `LogOdds`
MIN_LEAF_PROBABILITY = 1e-12  # keeps log-odds of pure leaves finite
MAX_LEAF_ROWS = 5_000_000  # leaves × customers with exact values; about a second
PERMUTATIONS, PERMUTATIONS_OF_MANY = 16, 2  # and their reverses
MANY = 200  # customers
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class AdditiveExplanation:
    """Contributions with ``base + phi.sum(axis=1) == margin``.

    `margin`: (n,) log-odds of churn.
    `error`: mean standard error of a contribution in log-odds; 0 without sampling.
    """

    base: float
    phi: np.ndarray
    margin: np.ndarray
    methods: tuple[str, ...]
    error: float = 0.0


def contributions(
    model: BaseEstimator,
    X: np.ndarray,
    reference: np.ndarray,
    groups: list[list[int]],
    *,
    leaf_rows: int = MAX_LEAF_ROWS,
) -> AdditiveExplanation:
    """Explain the log-odds of a fitted classifier.

    `model`: a `LogOdds`, or any classifier with ``predict_proba`` or ``decision_function``.
    `leaf_rows`: leaves of a forest × customers with exact values; the first customers get them.
    """
    with threadpool_limits(1 if len(X) < SINGLE_THREAD_ROWS else None):
        return _explain(model, X, reference, groups, leaf_rows)


def _explain(
    model: BaseEstimator,
    X: np.ndarray,
    reference: np.ndarray,
    groups: list[list[int]],
    leaf_rows: int,
) -> AdditiveExplanation:
    if isinstance(model, LogOdds):
        members = model.members
        parts = [_explain_member(member, X, reference, groups, leaf_rows) for member in members]
        # the whole model needs the clipping of `LogOdds`
        explanation = _combined(parts, _member_weights(model, len(parts)), expit, _logit)
        if _matches_margin(explanation, model.decision_function(X)):
            return explanation
    return _sample_shapley(lambda rows: _margin(model, rows), X, reference, groups)


def _matches_margin(explanation: AdditiveExplanation, margin: np.ndarray) -> bool:
    """Whether the combined parts give the model's own margin.

    Otherwise the model is a new kind of blend and gets sampled values.
    """
    return len(margin) == 0 or float(np.abs(explanation.margin - margin).max()) < TOLERANCE


def _member_weights(model: LogOdds, members: int) -> np.ndarray:
    stored = getattr(model, "weights", None)
    weights = np.ones(members) if stored is None else np.asarray(stored, dtype=float)
    return weights / weights.sum()


def _combined(
    parts: list[AdditiveExplanation],
    weights: Iterable[float],
    inner: Callable[[Any], Any],
    outer: Callable[[Any], Any],
) -> AdditiveExplanation:
    """Combine the explanations of the parts of a weighted sum.

    ``inner`` converts the log-odds of a part to what is added, ``outer`` the sum to log-odds.
    """
    pairs = list(zip(parts, weights, strict=True))
    total = np.asarray(sum(weight * inner(part.margin) for part, weight in pairs))
    base = float(sum(weight * inner(part.base) for part, weight in pairs))
    back = _secant(outer, total, base)
    slopes = [weight * _secant(inner, part.margin, part.base) for part, weight in pairs]
    phi = sum(part.phi * (slope * back)[:, None] for part, slope in zip(parts, slopes, strict=True))
    error = float(sum(part.error * weight for part, weight in pairs))
    methods = tuple(dict.fromkeys(method for part in parts for method in part.methods))
    return AdditiveExplanation(float(outer(base)), np.asarray(phi), outer(total), methods, error)


def _logit(chance: Any) -> Any:
    return logit(np.clip(chance, MIN_PROBABILITY, 1 - MIN_PROBABILITY))


def _wide_logit(chance: Any) -> Any:
    return logit(np.clip(chance, MIN_LEAF_PROBABILITY, 1 - MIN_LEAF_PROBABILITY))


def _secant(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, base: float) -> np.ndarray:
    """Return the secant slope of ``f`` to the base.

    (f(x) − f(base)) / (x − base), (n,); near the base, the slope of ``f``.
    """
    step = 1e-7
    near = np.abs(x - base) < step
    left, right = np.where(near, base - step, base), np.where(near, base + step, x)
    return (f(right) - f(left)) / (right - left)


def _margin(model: BaseEstimator, X: np.ndarray) -> np.ndarray:
    if hasattr(model, "decision_function"):
        return model.decision_function(X)
    return _logit(model.predict_proba(X)[:, 1])


def _explain_member(
    member: BaseEstimator,
    X: np.ndarray,
    reference: np.ndarray,
    groups: list[list[int]],
    leaf_rows: int,
) -> AdditiveExplanation:
    if isinstance(member, ClosedForm):
        return _closed_form(member, X, reference)
    if isinstance(member, LogOdds):
        inner = [_explain_member(part, X, reference, groups, leaf_rows) for part in member.members]
        return _combined(inner, _member_weights(member, len(inner)), expit, _wide_logit)
    if isinstance(member, Survival):
        stretches = member.stretches
        inner = [_explain_member(part, X, reference, groups, leaf_rows) for part in stretches]
        return _combined(inner, [1.0] * len(inner), log_expit, _logit_of_log)
    if isinstance(member, HistGradientBoostingClassifier):
        return _boosting(member, X)
    if isinstance(member, (DecisionTreeClassifier, *FORESTS)):
        return _forest(member, X, leaf_rows)
    exact_heads = LogisticRegression | Quadratic | HistGradientBoostingClassifier
    if isinstance(member, Pipeline) and isinstance(member[-1], exact_heads):
        source = _source_features(member, X.shape[1])
        if source is not None and isinstance(member[-1], HistGradientBoostingClassifier):
            trees = _boosting(member[-1], member[:-1].transform(X))
            return replace(trees, phi=_by_feature(trees.phi, source, X.shape[1]))
        if source is not None:
            exact = _quadratic if isinstance(member[-1], Quadratic) else _linear
            return exact(member, X, reference, source)
    return _sample_shapley(lambda rows: _margin(member, rows), X, reference, groups)


def _logit_of_log(chance: Any) -> Any:
    """Return log-odds from the logarithm of a probability."""
    return _wide_logit(np.exp(chance))


def _closed_form(member: ClosedForm, X: np.ndarray, reference: np.ndarray) -> AdditiveExplanation:
    margin = _logit(churn_probability(member, X))
    base = float(_logit(churn_probability(member, reference[None])[0]))
    phi = np.zeros(X.shape)
    phi[:, member.column] = margin - base
    return AdditiveExplanation(base, phi, margin, ("the closed form's one column",))


def _linear(
    member: Pipeline, X: np.ndarray, reference: np.ndarray, source: np.ndarray
) -> AdditiveExplanation:
    head = member[-1]
    Z = member[:-1].transform(X)
    scaled = any(isinstance(step, StandardScaler) for _, step in member.steps)  # mean 0
    mean = np.zeros(Z.shape[1]) if scaled else member[:-1].transform(reference[None])[0]
    weights = head.coef_[0]
    base = float(head.intercept_[0] + mean @ weights)
    phi = _by_feature((Z - mean) * weights, source, X.shape[1])
    return AdditiveExplanation(base, phi, Z @ weights + head.intercept_[0], ("exact w·(x − mean)",))


def _quadratic(
    member: Pipeline, X: np.ndarray, reference: np.ndarray, source: np.ndarray
) -> AdditiveExplanation:
    head, Z = member[-1], member[:-1].transform(X)
    phi = _by_feature(head.contributions(Z), source, X.shape[1])
    margin = head.decision_function(Z)
    return AdditiveExplanation(head.intercept_, phi, margin, ("exact Shapley values of products",))


def _by_feature(parts: np.ndarray, source: np.ndarray, columns: int) -> np.ndarray:
    """Sum contributions of columns by source feature, (n, columns)."""
    phi = np.zeros((len(parts), columns))
    np.add.at(phi.T, source, parts.T)
    return phi


def _source_features(member: Pipeline, columns: int) -> np.ndarray | None:
    """Return the source feature of each column of the classifier. None if a step mixes features."""
    source = np.arange(columns)
    for _, step in member.steps[:-1]:
        if isinstance(step, SimpleImputer):
            indicated = step.indicator_.features_ if step.indicator_ is not None else []
            source = np.concatenate([source, source[indicated]]) if len(indicated) else source
        elif isinstance(step, FunctionTransformer) and step.func in (select_columns, take_columns):
            source = source[step.kw_args["places"]]
        elif not isinstance(step, FunctionTransformer | StandardScaler):
            return None
    return source if len(source) == _width(member[-1]) else None


def _width(head: LogisticRegression | Quadratic | HistGradientBoostingClassifier) -> int:
    if isinstance(head, Quadratic):
        return len(head.slopes_)
    return head.coef_.shape[1] if isinstance(head, LogisticRegression) else head.n_features_in_


def _boosting(member: HistGradientBoostingClassifier, X: np.ndarray) -> AdditiveExplanation:
    phi, base = _shap(member, X)
    return AdditiveExplanation(base, phi, member.decision_function(X), ("SHAP",))


def _forest(member: BaseEstimator, X: np.ndarray, leaf_rows: int) -> AdditiveExplanation:
    trees = member.estimators_ if isinstance(member, FORESTS) else [member]
    exact = leaf_rows // sum(int(tree.tree_.n_leaves) for tree in trees)
    phi, base = _shap(member, X[:exact])
    methods = ("SHAP",) if exact else ()
    if len(X) > exact:
        rest, _ = _shap(member, X[exact:], approximate=True)
        phi, methods = np.concatenate([phi, rest]), (*methods, "path attribution for the many")
    chance = member.predict_proba(X)[:, 1]
    margin = _wide_logit(chance)
    return AdditiveExplanation(
        float(_wide_logit(base)), phi * _secant(_wide_logit, chance, base)[:, None], margin, methods
    )


def _shap(
    member: BaseEstimator, X: np.ndarray, *, approximate: bool = False
) -> tuple[np.ndarray, float]:
    """Return (n, k) SHAP values of the second class, and their base."""
    import shap

    explainer: Any = shap.TreeExplainer(member, feature_perturbation="tree_path_dependent")
    base = float(np.ravel(explainer.expected_value)[-1])
    if not len(X):
        return np.zeros(X.shape), base
    values = np.asarray(explainer.shap_values(X, approximate=approximate, check_additivity=False))
    return (values[:, :, -1] if values.ndim == 3 else values), base


def _sample_shapley(
    margin: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    reference: np.ndarray,
    groups: list[list[int]],
) -> AdditiveExplanation:
    """Sample Shapley values of feature groups.

    The baseline is the median customer.

    Groups change one by one in random orders and their reverses. The steps of each order add up to
    margin − base, and so do their means.
    """
    rng = np.random.default_rng(0)
    pairs_drawn = PERMUTATIONS if len(X) < MANY else PERMUTATIONS_OF_MANY
    drawn = [rng.permutation(len(groups)) for _ in range(pairs_drawn)]
    both_ways = [permutation for order in drawn for permutation in (order, order[::-1])]
    base, full = float(margin(reference[None])[0]), margin(X)
    steps = np.zeros((2 * pairs_drawn, len(X), len(groups)))
    for number, order in enumerate(both_ways):
        rows, before = np.broadcast_to(reference, X.shape).copy(), np.full(len(X), base)
        for place, group in enumerate(order):
            rows[:, groups[group]] = X[:, groups[group]]
            after = full if place == len(order) - 1 else margin(rows)
            steps[number, :, group], before = after - before, after
    pairs = (steps[0::2] + steps[1::2]) / 2
    error = pairs.std(axis=0, ddof=1) / np.sqrt(pairs_drawn)
    phi = np.zeros(X.shape)
    for number, group in enumerate(groups):
        phi[:, group] = pairs[:, :, number].mean(axis=0)[:, None] / len(group)
    methods = ("sampled Shapley values",)
    return AdditiveExplanation(base, phi, full, methods, float(error.mean()) if len(X) else 0.0)
