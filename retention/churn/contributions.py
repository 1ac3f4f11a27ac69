"""What each feature adds to the log-odds of churn, so that base + contributions = margin, exactly, for every estimator.

- Logistic regression: w · (z − mean z), z being what the pipeline hands to it; a missing-value indicator counts for the
  feature that is missing.
- Logistic regression on products: the same, of a product half to either feature, which are its Shapley values.
- Gradient boosting: SHAP of the trees (Lundberg et al. 2020, path-dependent), which are on the log-odds already.
- Trees and forests: SHAP of the probability, brought to log-odds by the secant below. Its cost is leaves × depth² a
  customer, so of a large population the first customers get it and the others path attribution (Saabas 2014), which
  adds up as exactly.
- Half the horizon and twice (`retention.churn.hazards`): the mean of the two, as of an ensemble.
- Stretches of the horizon (`retention.churn.hazards`): each stretch as its kind, brought to the logarithm of its
  probability by a secant; these add up to that of churn, which is brought to log-odds.
- Support-vector machine, neural network and whatever else there is: Shapley values of the groups of features, sampled
  over antithetic permutations against the median customer; they add up exactly and carry a standard error.

An ensemble averages its members' probabilities by their weights. Between its base and a customer, each member's
log-odds are brought to probabilities by the secant of the logistic function, weighted, added, and brought back by the
secant of its inverse: every step multiplies by a positive number and keeps the sum. A secant (f(x) − f(b)) / (x − b) is
the slope that makes a contribution to x one to f(x).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.ensemble._forest import ForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from retention.churn.estimators import SMALL, ClosedForm, LogOdds, churn, take_columns
from retention.churn.hazards import Survival
from retention.churn.quadratic import Quadratic

EDGE = 1e-6  # probabilities are kept so far from 0 and 1, as `LogOdds` does
NOTHING = 1e-12  # a tree's leaf may hold nobody who left: its log-odds must be some number
LEAF_ROWS = 5_000_000  # leaves × customers that are worth the exact values: about a second
PERMUTATIONS, PERMUTATIONS_OF_MANY, MANY = (
    16,
    2,
    200,
)  # and their reverses; from so many customers on
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Additive:
    """``base + phi.sum(axis=1) == margin``: (k,) features, (n, k) contributions, (n,) log-odds of churn.

    ``error`` is the mean standard error of a contribution in log-odds: 0 where nothing was sampled.
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
    leaf_rows: int = LEAF_ROWS,
) -> Additive:
    """Explain the log-odds of a fitted classifier at (n, k) features.

    Parameters
    ----------
    model
        A `LogOdds`, or any classifier with ``predict_proba`` or ``decision_function``.
    reference : numpy.ndarray
        (k,) the median customer: what sampled Shapley values are told against.
    groups : list of list of int
        The columns of each group of features; sampled values are shared out evenly within a group.
    leaf_rows : int
        Leaves of a forest × customers that get the exact values; the first customers do.
    """
    with threadpool_limits(
        1 if len(X) < SMALL else None
    ):  # as `LogOdds` itself: threads gain nothing here
        return _explained(model, X, reference, groups, leaf_rows)


def _explained(
    model: BaseEstimator,
    X: np.ndarray,
    reference: np.ndarray,
    groups: list[list[int]],
    leaf_rows: int,
) -> Additive:
    if isinstance(model, LogOdds):
        parts = [_member(member, X, reference, groups, leaf_rows) for member in model.members]
        found = _averaged(parts, _weights(model, len(parts)), _logit)
        if _adds_up(found, model.decision_function(X)):
            return found
    return _sampled(lambda rows: _margin(model, rows), X, reference, groups)


def _adds_up(found: Additive, margin: np.ndarray) -> bool:
    """Whether the parts are put together as the model itself does it; a new kind of blend is sampled instead."""
    return len(margin) == 0 or float(np.abs(found.margin - margin).max()) < TOLERANCE


def _weights(model: LogOdds, members: int) -> np.ndarray:
    given = getattr(model, "weights", None)
    weights = np.ones(members) if given is None else np.asarray(given, dtype=float)
    return weights / weights.sum()


def _averaged(parts: list[Additive], weights: np.ndarray, odds: Callable[[Any], Any]) -> Additive:
    """The weighted mean of probabilities, in log-odds by ``odds``: cut off where `LogOdds` cuts, if it is the whole model."""
    chance = sum(weight * expit(part.margin) for part, weight in zip(parts, weights, strict=True))
    base = sum(weight * expit(part.base) for part, weight in zip(parts, weights, strict=True))
    slopes = [
        weight * _secant(expit, part.margin, part.base)
        for part, weight in zip(parts, weights, strict=True)
    ]
    back = _secant(odds, np.asarray(chance), float(base))
    phi = sum(part.phi * (slope * back)[:, None] for part, slope in zip(parts, slopes, strict=True))
    error = float(sum(part.error * weight for part, weight in zip(parts, weights, strict=True)))
    methods = tuple(dict.fromkeys(method for part in parts for method in part.methods))
    return Additive(float(odds(base)), np.asarray(phi), odds(np.asarray(chance)), methods, error)


def _logit(chance: Any) -> Any:
    return logit(np.clip(chance, EDGE, 1 - EDGE))


def _far(chance: Any) -> Any:
    return logit(np.clip(chance, NOTHING, 1 - NOTHING))


def _secant(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, base: float) -> np.ndarray:
    """(f(x) − f(base)) / (x − base), (n,); at x = base the slope, from both sides."""
    step = 1e-7
    near = np.abs(x - base) < step
    left, right = np.where(near, base - step, base), np.where(near, base + step, x)
    return (f(right) - f(left)) / (right - left)


def _margin(model: BaseEstimator, X: np.ndarray) -> np.ndarray:
    if hasattr(model, "decision_function"):
        return model.decision_function(X)
    return _logit(model.predict_proba(X)[:, 1])


# ------------------------------------------------------------ members


def _member(
    member: BaseEstimator,
    X: np.ndarray,
    reference: np.ndarray,
    groups: list[list[int]],
    leaf_rows: int,
) -> Additive:
    if isinstance(member, ClosedForm):
        return _closed_form(member, X, reference)
    if isinstance(member, LogOdds):
        inner = [_member(one, X, reference, groups, leaf_rows) for one in member.members]
        return _averaged(inner, _weights(member, len(inner)), _far)
    if isinstance(member, Survival):
        return _product([_member(one, X, reference, groups, leaf_rows) for one in member.stretches])
    if isinstance(member, HistGradientBoostingClassifier):
        return _boosting(member, X)
    if isinstance(member, DecisionTreeClassifier | ForestClassifier):
        return _forest(member, X, leaf_rows)
    if isinstance(member, Pipeline) and isinstance(member[-1], LogisticRegression | Quadratic):
        source = _sources(member, X.shape[1])
        if source is not None:
            exact = _quadratic if isinstance(member[-1], Quadratic) else _linear
            return exact(member, X, reference, source)
    return _sampled(lambda rows: _margin(member, rows), X, reference, groups)


def _product(parts: list[Additive]) -> Additive:
    """The product of probabilities, in log-odds: their logarithms add up."""
    total = np.sum([log_expit(part.margin) for part in parts], axis=0)
    base = float(np.sum([log_expit(part.base) for part in parts]))
    slopes = [_secant(log_expit, part.margin, part.base) for part in parts]
    back = _secant(_odds_of_log, total, base)
    phi = np.sum(
        [part.phi * (slope * back)[:, None] for part, slope in zip(parts, slopes, strict=True)],
        axis=0,
    )
    methods = tuple(dict.fromkeys(method for part in parts for method in part.methods))
    error = float(np.mean([part.error for part in parts]))
    return Additive(float(_odds_of_log(base)), phi, _odds_of_log(total), methods, error)


def _odds_of_log(chance: Any) -> Any:
    """Log-odds of a probability given by its logarithm."""
    return _far(np.exp(chance))


def _closed_form(member: ClosedForm, X: np.ndarray, reference: np.ndarray) -> Additive:
    margin = _logit(churn(member, X))
    base = float(_logit(churn(member, reference[None])[0]))
    phi = np.zeros(X.shape)
    phi[:, member.column] = margin - base
    return Additive(base, phi, margin, ("the closed form's one column",))


def _linear(member: Pipeline, X: np.ndarray, reference: np.ndarray, source: np.ndarray) -> Additive:
    head = member[-1]
    Z = member[:-1].transform(X)
    scaled = any(
        isinstance(step, StandardScaler) for _, step in member.steps
    )  # then the training mean is 0
    mean = np.zeros(Z.shape[1]) if scaled else member[:-1].transform(reference[None])[0]
    weights = head.coef_[0]
    base = float(head.intercept_[0] + mean @ weights)
    phi = _by_feature((Z - mean) * weights, source, X.shape[1])
    return Additive(base, phi, Z @ weights + head.intercept_[0], ("exact w·(x − mean)",))


def _quadratic(
    member: Pipeline, X: np.ndarray, reference: np.ndarray, source: np.ndarray
) -> Additive:
    head, Z = member[-1], member[:-1].transform(X)
    phi = _by_feature(head.contributions(Z), source, X.shape[1])
    return Additive(
        head.intercept_, phi, head.decision_function(Z), ("exact Shapley values of products",)
    )


def _by_feature(parts: np.ndarray, source: np.ndarray, columns: int) -> np.ndarray:
    """(n, columns): what the columns that reached the head add up to, by the feature they come from."""
    phi = np.zeros((len(parts), columns))
    np.add.at(phi.T, source, parts.T)
    return phi


def _sources(member: Pipeline, columns: int) -> np.ndarray | None:
    """From which feature each column that reaches the linear head comes; None where a step mixes them."""
    source = np.arange(columns)
    for _, step in member.steps[:-1]:
        if isinstance(step, SimpleImputer):
            shown = step.indicator_.features_ if step.indicator_ is not None else []
            source = np.concatenate([source, source[shown]]) if len(shown) else source
        elif isinstance(step, FunctionTransformer) and step.func is take_columns:
            source = source[step.kw_args["places"]]
        elif not isinstance(step, FunctionTransformer | StandardScaler):
            return None
    return source if len(source) == _width(member[-1]) else None


def _width(head: LogisticRegression | Quadratic) -> int:
    return len(head.slopes_) if isinstance(head, Quadratic) else head.coef_.shape[1]


def _boosting(member: HistGradientBoostingClassifier, X: np.ndarray) -> Additive:
    phi, base = _shap(member, X)
    return Additive(base, phi, member.decision_function(X), ("SHAP",))


def _forest(
    member: DecisionTreeClassifier | ForestClassifier, X: np.ndarray, leaf_rows: int
) -> Additive:
    trees = member.estimators_ if isinstance(member, ForestClassifier) else [member]
    exact = leaf_rows // sum(int(tree.tree_.n_leaves) for tree in trees)
    phi, base = _shap(member, X[:exact])
    methods = ("SHAP",) if exact else ()
    if len(X) > exact:
        rest, _ = _shap(member, X[exact:], approximate=True)
        phi, methods = np.concatenate([phi, rest]), (*methods, "path attribution for the many")
    chance = member.predict_proba(X)[:, 1]
    return Additive(
        float(_far(base)), phi * _secant(_far, chance, base)[:, None], _far(chance), methods
    )


def _shap(
    member: BaseEstimator, X: np.ndarray, *, approximate: bool = False
) -> tuple[np.ndarray, float]:
    """(n, k) contributions to the second class's raw output, and their base. The import takes seconds."""
    import shap

    explainer: Any = shap.TreeExplainer(member, feature_perturbation="tree_path_dependent")
    base = float(np.ravel(explainer.expected_value)[-1])
    if not len(X):
        return np.zeros(X.shape), base
    found = np.asarray(explainer.shap_values(X, approximate=approximate, check_additivity=False))
    return (found[:, :, -1] if found.ndim == 3 else found), base


# ------------------------------------------------------------ sampled


def _sampled(
    margin: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    reference: np.ndarray,
    groups: list[list[int]],
) -> Additive:
    """Group by group from the median customer to this one, in random orders and their reverses; the mean step.

    Each order's steps add up to margin − base, so their mean does.
    """
    rng = np.random.default_rng(0)
    pairs_drawn = PERMUTATIONS if len(X) < MANY else PERMUTATIONS_OF_MANY
    drawn = [rng.permutation(len(groups)) for _ in range(pairs_drawn)]
    both_ways = [one for order in drawn for one in (order, order[::-1])]
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
    return Additive(
        base, phi, full, ("sampled Shapley values",), float(error.mean()) if len(X) else 0.0
    )
