"""The estimators by name, behind one contract: `fit` gives a `LogOdds`, whatever it is made of.

They take (n, k) floats with missing values as NaN and learn P(churn). Scaling and imputation live inside them. Fits
run in small pieces, so that progress is honest and a cancelled job stops within a piece.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from retention.churn.hazards import fit_other_horizons, fit_survival
from retention.churn.quadratic import Quadratic
from retention.features import transforms
from retention.progress import Progress, part, silent

PRODUCTS = "quadratic"  # of every two features
HORIZONS = "horizons"  # the same, asked of half the horizon and of twice
SURVIVAL_MEMBERS = (
    "logistic",
    PRODUCTS,
    "boosting",
)  # learn when a customer came back, where that is known
ENSEMBLE = (*SURVIVAL_MEMBERS, HORIZONS)
CLOSED_FORM, RFM = "bg_nbd", "rfm_logistic"
SEASONAL, BG_LOGISTIC = (
    "bg_season",
    "bg_logistic",
)  # BG/NBD on the shop's clock; its log-odds and RFM
SIMPLE = (CLOSED_FORM, SEASONAL, RFM, BG_LOGISTIC)
STACKED = (SEASONAL, BG_LOGISTIC, "logistic", "boosting")
CLOSED_FORM_COLUMNS = {
    CLOSED_FORM: ("bg_no_purchase",),
    SEASONAL: ("season_no_purchase", "bg_no_purchase"),
}
RFM_COLUMNS = ("recency_days", "orders_all", "basket_mean")
SINGLE_THREAD_ROWS = 100_000  # rows
MAX_DEVIATION = 4.0  # standard deviations
FULL_STRENGTH_ROWS = (
    20_000  # rows, from which logistic regression needs no firmer hand; below, the penalty grows
)
_PRIOR_CUSTOMERS = 100.0  # customers' worth of belief that all members of a stack are equally good


class LogOdds(ClassifierMixin, BaseEstimator):
    """The (weighted) mean of fitted models' probabilities; its decision function is their log-odds.

    Parameters
    ----------
    members : sequence of fitted classifiers
        With ``predict_proba``, or with a ``decision_function`` that is read as log-odds (support-vector machines).
    weights : sequence of float, optional
        One a member, adding up to 1; all the same without it.
    """

    def __init__(
        self, members: Sequence[BaseEstimator] = (), weights: Sequence[float] | None = None
    ) -> None:
        self.members = members
        self.weights = weights
        self.classes_ = np.array([0.0, 1.0])

    def fit(self, X: np.ndarray, y: np.ndarray) -> "LogOdds":
        """Fit every member on (n, k) features and (n,) labels."""
        for member in self.members:
            member.fit(X, y)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self.members)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, 2): P(stays), P(churns)."""
        with _thread_limit(len(X)):
            mean = np.average(
                [churn_probability(member, X) for member in self.members],
                axis=0,
                weights=self.weights,
            )
        return np.column_stack([1 - mean, mean])

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """(n,) log-odds of churn."""
        return logit(np.clip(self.predict_proba(X)[:, 1], 1e-6, 1 - 1e-6))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n,) 0 or 1, at even odds."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(float)


class ClosedForm(ClassifierMixin, BaseEstimator):
    """No learning: one column already is the probability (BG/NBD's P(no order))."""

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def fit(self, X: np.ndarray, y: np.ndarray) -> "ClosedForm":
        """Remember the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, 2)."""
        churn = np.clip(np.nan_to_num(X[:, self.column], nan=0.5), 1e-6, 1 - 1e-6)
        return np.column_stack([1 - churn, churn])


def churn_probability(member: BaseEstimator, X: np.ndarray) -> np.ndarray:
    """P(churn) of one fitted member, (n,)."""
    if hasattr(member, "predict_proba"):
        return member.predict_proba(X)[:, 1]
    return expit(member.decision_function(X))


def take_columns(X: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Some of the columns, 0 where missing."""
    return np.nan_to_num(np.asarray(X)[:, list(places)])


def odds_first(X: np.ndarray) -> np.ndarray:
    """The first column, a probability, as log-odds; the others as `signed_log`."""
    return np.column_stack([logit(np.clip(X[:, 0], 1e-4, 1 - 1e-4)), signed_log(X[:, 1:])])


def blend_weights(probabilities: np.ndarray, y: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Weights of a mixture that make the labels likeliest (expectation maximisation), drawn towards equal ones.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (members, n) P(churn), out of sample.
    y : numpy.ndarray
        (n,) labels.

    Returns
    -------
    numpy.ndarray
        (members,), adding up to 1; a member worth less than a fiftieth is left out.
    """
    likelihood = np.clip(np.where(y == 1, probabilities, 1 - probabilities), 1e-9, 1)
    weights = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(rounds):
        share = weights[:, None] * likelihood
        weights = (share / share.sum(axis=0)).sum(axis=1) + _PRIOR_CUSTOMERS / len(weights)
        weights /= weights.sum()
    kept = np.where(weights < 0.02, 0.0, weights)
    return kept / kept.sum()


def signed_log(X: np.ndarray) -> np.ndarray:
    """Transform skewed values; stored models name this function by its path, so it stays here."""
    return transforms.signed_log(X)


def bounded(Z: np.ndarray) -> np.ndarray:
    """Standard deviations cut off at `MAX_DEVIATION`: what hardly anybody had in training must not decide alone later."""
    return np.clip(Z, -MAX_DEVIATION, MAX_DEVIATION)


def _scaled() -> list[BaseEstimator]:
    return [
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        FunctionTransformer(signed_log),
        StandardScaler(),
        FunctionTransformer(bounded),
    ]


def _logistic(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    chosen = {
        "C": float(np.clip(0.03 * len(y) / FULL_STRENGTH_ROWS, 0.003, 0.03)),
        "max_iter": 2000,
        **settings,
    }
    return make_pipeline(*_scaled(), LogisticRegression(**chosen)).fit(X, y)


def _quadratic(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    chosen = {
        "C": float(np.clip(0.003 * len(y) / FULL_STRENGTH_ROWS, 0.0003, 0.003)),
        "gamma": 0.005,
        **settings,
    }
    return make_pipeline(*_scaled(), Quadratic(random_state=seed, **chosen)).fit(X, y)


def _small_logistic(places: Sequence[int], made: Callable[[np.ndarray], np.ndarray]) -> Pipeline:
    taken = FunctionTransformer(take_columns, kw_args={"places": list(places)})
    return make_pipeline(taken, FunctionTransformer(made), StandardScaler(), LogisticRegression())


def _column_indices(wanted: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Where the wanted columns are; the first column where there is none."""
    return [list(columns).index(one) for one in wanted if one in columns] or [0]


def _tree(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    chosen = {"max_depth": 7, "min_samples_leaf": _leaf_size(len(y), 100), **settings}
    return DecisionTreeClassifier(random_state=seed, **chosen).fit(X, y)


def _forest(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    chosen = {"min_samples_leaf": _leaf_size(len(y), 12), "max_features": 0.2, **settings}
    share = min(
        0.4, 20_000 / len(y)
    )  # of the rows for each tree: neighbouring snapshots are much alike
    model = RandomForestClassifier(
        n_estimators=0, max_samples=share, n_jobs=2, warm_start=True, random_state=seed, **chosen
    )
    _fit_in_steps(model, "n_estimators", 100, 10, X, y, progress)
    return model.set_params(n_jobs=1)  # several threads would add the trees up in any order


def _extra_trees(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    chosen = {"min_samples_leaf": _leaf_size(len(y), 12), "max_features": 0.25, **settings}
    model = ExtraTreesClassifier(
        n_estimators=0, n_jobs=2, warm_start=True, random_state=seed, **chosen
    )
    _fit_in_steps(model, "n_estimators", 60, 10, X, y, progress)
    return model.set_params(n_jobs=1)


def _boosting(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    chosen = {
        "learning_rate": 0.04,
        "max_leaf_nodes": 12,
        "l2_regularization": 5,
        "max_features": 0.3,
        "min_samples_leaf": _leaf_size(len(y), 60),
        **settings,
    }
    model = HistGradientBoostingClassifier(
        max_iter=0, early_stopping=False, warm_start=True, random_state=seed, **chosen
    )
    return _fit_in_steps(model, "max_iter", 120, 20, X, y, progress)


def _fit_in_steps(
    model: BaseEstimator,
    size: str,
    most: int,
    step: int,
    X: np.ndarray,
    y: np.ndarray,
    progress: Progress,
) -> BaseEstimator:
    for done in range(step, most + 1, step):
        progress(done - step, most, "Growing trees")
        model.set_params(**{size: done}).fit(X, y)
    return model


def _svm(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    kernel = Nystroem(n_components=min(200, len(y)), gamma=0.01, random_state=seed)
    machine = LinearSVC(random_state=seed, **{"C": 0.001, **settings})
    return make_pipeline(*_scaled(), kernel, StandardScaler(), machine).fit(X, y)


def _neural(
    X: np.ndarray, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    scaled = make_pipeline(*_scaled()).fit(X)
    chosen = {"alpha": 1.0, "learning_rate_init": 0.002, **settings}
    network = MLPClassifier((32, 16), batch_size=min(256, len(y)), random_state=seed, **chosen)
    inputs = scaled.transform(X)
    epochs = int(np.clip(600_000 / len(y), 12, 60))
    for epoch in range(epochs):
        progress(epoch, epochs, "Training the network")
        network.partial_fit(inputs, y, classes=[0.0, 1.0])
    return Pipeline([*scaled.steps, ("network", network)])


def _thread_limit(rows: int) -> threadpool_limits:
    """One OpenMP thread for small data: spinning threads gain nothing there and fight with the other processes."""
    return threadpool_limits(1 if rows < SINGLE_THREAD_ROWS else None)


def _leaf_size(rows: int, wanted: int) -> int:
    """Leaves as large as wanted, but at least fifty of them where there are few rows."""
    return max(1, min(wanted, rows // 50))


Fit = Callable[[np.ndarray, np.ndarray, int, Progress, Mapping[str, Any]], BaseEstimator]
_FITS: dict[str, Fit] = {
    "logistic": _logistic,
    PRODUCTS: _quadratic,
    HORIZONS: _quadratic,
    "tree": _tree,
    "forest": _forest,
    "extra_trees": _extra_trees,
    "svm": _svm,
    "neural": _neural,
    "boosting": _boosting,
}
ESTIMATORS = (*_FITS, "ensemble", "stacked", CLOSED_FORM, SEASONAL, RFM, BG_LOGISTIC)


def members_of(name: str) -> tuple[str, ...]:
    """The members that an estimator is made of."""
    return {"ensemble": ENSEMBLE, "stacked": STACKED}.get(name, (name,))


def stack_members(members: Sequence[str]) -> tuple[str, ...]:
    """Those of some members that a stack is made of: what knows more than RFM, and the season where it is known.

    There a third learned member would outvote the closed forms that know it; other horizons are in the ensemble's mean only.
    """
    left_out = {RFM, HORIZONS, *((CLOSED_FORM, PRODUCTS) if SEASONAL in members else ())}
    return tuple(one for one in members if one not in left_out)


def fit_member(
    name: str,
    X: np.ndarray,
    y: np.ndarray,
    *,
    return_times: np.ndarray | None = None,
    observed_horizons: np.ndarray | None = None,
    columns: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
    settings: Mapping[str, Any] | None = None,
) -> BaseEstimator:
    """Fit one member, of `members_of`.

    Parameters
    ----------
    return_times : numpy.ndarray, optional
        (n,) time until each customer came back, in horizons; infinite for who had not when they were observed_horizons no more.
    observed_horizons : numpy.ndarray, optional
        (n,) for how many horizons they were; one without it.
    columns : sequence of str
        (k,) names of the features.
    settings : mapping, optional
        They replace its own.
    """
    progress(0, 1, f"Fitting: {name}")
    with _thread_limit(len(y)):
        if name in CLOSED_FORM_COLUMNS:
            return ClosedForm(_column_indices(CLOSED_FORM_COLUMNS[name], columns)[0]).fit(X, y)
        if name == RFM:
            return _small_logistic(_column_indices(RFM_COLUMNS, columns), signed_log).fit(X, y)
        if name == BG_LOGISTIC:
            closed = _column_indices(CLOSED_FORM_COLUMNS[SEASONAL], columns)[:1]
            return _small_logistic(
                [*closed, *_column_indices(RFM_COLUMNS, columns)], odds_first
            ).fit(X, y)

        def whole(X: np.ndarray, y: np.ndarray, progress: Progress) -> BaseEstimator:
            # what nobody has in this stretch tells nothing, and some cannot stand it
            known = np.where(np.isnan(X).all(axis=0), 0.0, X)
            return _FITS[name](known, y, seed, progress, settings or {})

        found = None
        if return_times is not None and name in SURVIVAL_MEMBERS:
            found = fit_survival(whole, X, return_times, progress)
        if return_times is not None and name == HORIZONS:
            seen = np.ones(len(y)) if observed_horizons is None else observed_horizons
            others = fit_other_horizons(whole, X, y, return_times, seen, progress)
            found = LogOdds(others) if others else None
        return whole(X, y, progress) if found is None else found


def fit(
    name: str,
    X: np.ndarray,
    y: np.ndarray,
    *,
    columns: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> LogOdds:
    """Fit an estimator by name; the same data and seed give the same model.

    Parameters
    ----------
    name : str
        One of `ESTIMATORS`.
    X : numpy.ndarray
        (n, k) floats, missing as NaN.
    y : numpy.ndarray
        (n,) 0 stays, 1 churns; both must occur.
    columns : sequence of str
        (k,) names of the features; the closed form and RFM find theirs by them, and take the first column without.
    """
    names = members_of(name)
    weights = None
    if name == "stacked":
        learned = _stack_weights(names, X, y, columns, seed, part(progress, 0, 2))
        names = tuple(one for one, weight in zip(names, learned, strict=True) if weight)
        weights = [float(weight) for weight in learned if weight]
        progress = part(progress, 1, 2)
    members = [
        fit_member(
            one, X, y, columns=columns, seed=seed, progress=part(progress, number, len(names))
        )
        for number, one in enumerate(names)
    ]
    return LogOdds(members, weights)


def _stack_weights(
    names: Sequence[str],
    X: np.ndarray,
    y: np.ndarray,
    columns: Sequence[str],
    seed: int,
    progress: Progress,
) -> np.ndarray:
    """Weights learned on every third row, which the members have not seen."""
    held = np.arange(len(y)) % 3 == 2
    told = []
    for number, one in enumerate(names):
        inner = part(progress, number, len(names))
        member = fit_member(one, X[~held], y[~held], columns=columns, seed=seed, progress=inner)
        told.append(churn_probability(member, X[held]))
    return blend_weights(np.array(told), y[held])
