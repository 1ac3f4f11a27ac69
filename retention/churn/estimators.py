"""Churn estimators by name.

Each fit returns a `LogOdds` of P(churn). Inputs are (n, k) floats with missing values as NaN;
scaling and imputation are part of the estimators. Fits run in small steps, so progress is accurate
and cancelled jobs stop soon.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator
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

from retention.churn.calibration import ChurnProbability
from retention.churn.hazards import fit_other_horizons, fit_survival
from retention.churn.quadratic import Quadratic
from retention.churn.rows import Rows
from retention.features import catalogue
from retention.progress import Progress, silent
from retention.text import gettext

PRODUCTS = "quadratic"  # products of two features
HORIZONS = "horizons"  # the same, fitted on half and twice the horizon
# fitted on return times, if they are known
SURVIVAL_MEMBERS = ("logistic", PRODUCTS, "boosting")
ENSEMBLE = (*SURVIVAL_MEMBERS, HORIZONS)
CLOSED_FORM, RFM = "bg_nbd", "rfm_logistic"
# BG/NBD in operational time; logistic regression on log-odds of BG/NBD and RFM
SEASONAL, BG_LOGISTIC = "bg_season", "bg_logistic"
SIMPLE = (CLOSED_FORM, SEASONAL, RFM, BG_LOGISTIC)
# plain models of few features and the day of the year
CALENDAR_LOGISTIC, CALENDAR_BOOSTING = "calendar_logistic", "calendar_boosting"
CALENDAR = (CALENDAR_LOGISTIC, CALENDAR_BOOSTING)
STACKED = (SEASONAL, BG_LOGISTIC, "logistic", "boosting")
CLOSED_FORM_COLUMNS = {
    CLOSED_FORM: ("bg_no_purchase",),
    SEASONAL: ("season_no_purchase", "bg_no_purchase"),
}
RFM_COLUMNS = ("recency_days", "orders_all", "basket_mean")
CALENDAR_COLUMNS = (
    "recency_days",
    "recency_over_gap",
    "orders_half",
    "orders_1h",
    "orders_2h",
    "orders_4h",
    "orders_all",
    "order_days",
    "gap_mean",
    "gap_median",
    "gap_sd",
    "gap_max",
    "gap_last",
    "trend_orders",
    "spend_1h",
    "spend_4h",
    "spend_all",
    "basket_mean",
    "discount_share",
    "items_4h",
    "categories_4h",
    "lines_per_order",
    "return_share",
    "tenure_days",
    "bg_no_purchase",
    "season_sin",
    "season_cos",
)
SEASON_COLUMNS = ("season_ahead", "season_no_purchase")  # the logistic one also knows the clock
SINGLE_THREAD_ROWS = 100_000
MAX_DEVIATION = 4.0  # standard deviations
FULL_STRENGTH_ROWS = 20_000  # below, the penalty of logistic regression grows
_PRIOR_CUSTOMERS = 100.0  # pseudo-customers for equal weights of a stack


class LogOdds(ChurnProbability):
    """Weighted mean of fitted models' probabilities.

    The decision function gives log-odds.

    Parameters
    ----------
    members : sequence of fitted classifiers
        With ``predict_proba``, or a ``decision_function`` in log-odds (support-vector machines).
    weights : sequence of float, optional
        One per member, with sum 1; equal by default.
    """

    def __init__(
        self, members: Sequence[BaseEstimator] = (), weights: Sequence[float] | None = None
    ) -> None:
        self.members = members
        self.weights = weights

    def churn(self, X: np.ndarray) -> np.ndarray:
        """Return P(churn), (n,)."""
        with _thread_limit(len(X)):
            parts = [churn_probability(member, X) for member in self.members]
        return np.average(parts, axis=0, weights=self.weights)


class ClosedForm(ChurnProbability):
    """Use one feature as the probability of churn. An example is BG/NBD's P(no order)."""

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def churn(self, X: np.ndarray) -> np.ndarray:
        """Return P(churn), (n,)."""
        return np.clip(np.nan_to_num(X[:, self.column], nan=0.5), 1e-6, 1 - 1e-6)


def churn_probability(member: BaseEstimator, X: np.ndarray) -> np.ndarray:
    """Return P(churn) of a fitted member, (n,)."""
    if hasattr(member, "predict_proba"):
        return member.predict_proba(X)[:, 1]
    return expit(member.decision_function(X))


def take_columns(X: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Select columns and replace missing values by 0."""
    return np.nan_to_num(select_columns(X, places))


def select_columns(X: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Select columns and keep missing values. Stored models contain this function by its path."""
    return np.asarray(X)[:, list(places)]


def odds_first(X: np.ndarray) -> np.ndarray:
    """Transform the first column to log-odds, the others by `signed_log`."""
    return np.column_stack([logit(np.clip(X[:, 0], 1e-4, 1 - 1e-4)), signed_log(X[:, 1:])])


def blend_weights(probabilities: np.ndarray, y: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Fit mixture weights by expectation maximisation.

    The weights are shrunk to equal ones.

    Returns: (members,) with sum 1; weights below .02 become 0.
    """
    likelihood = np.clip(np.where(y == 1, probabilities, 1 - probabilities), 1e-9, 1)
    weights = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(rounds):
        share = weights[:, None] * likelihood
        weights = (share / share.sum(axis=0)).sum(axis=1) + _PRIOR_CUSTOMERS / len(weights)
        weights /= weights.sum()
    large = np.where(weights < 0.02, 0.0, weights)
    return large / large.sum()


def signed_log(X: np.ndarray) -> np.ndarray:
    """Transform skewed values. Stored models contain this function by its path."""
    return catalogue.signed_log(X)


def bounded(Z: np.ndarray) -> np.ndarray:
    """Clip standardised values at `MAX_DEVIATION`.

    Values that are rare in training must not decide alone.
    """
    return np.clip(Z, -MAX_DEVIATION, MAX_DEVIATION)


def _scaled() -> list[BaseEstimator]:
    return [
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        FunctionTransformer(signed_log),
        StandardScaler(),
        FunctionTransformer(bounded),
    ]


def prepare(X: np.ndarray) -> Rows:
    """Return feature rows whose scaling several fits share."""
    return Rows(X, _scaled)


def _logistic(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    options = {
        "C": float(np.clip(0.03 * len(y) / FULL_STRENGTH_ROWS, 0.003, 0.03)),
        "max_iter": 2000,
        **settings,
    }
    return make_pipeline(*rows.steps, LogisticRegression(**options).fit(rows.scaled, y))


def _quadratic(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    options = {
        "C": float(np.clip(0.003 * len(y) / FULL_STRENGTH_ROWS, 0.0003, 0.003)),
        "gamma": 0.005,
        **settings,
    }
    kernel, inputs = rows.kernel(options["gamma"], seed)
    model = Quadratic(random_state=seed, **options).fit_kernel(kernel, inputs, y)
    return make_pipeline(*rows.steps, model)


def _small_logistic(
    places: Sequence[int], transform: Callable[[np.ndarray], np.ndarray]
) -> Pipeline:
    selected = FunctionTransformer(take_columns, kw_args={"places": list(places)})
    return make_pipeline(
        selected, FunctionTransformer(transform), StandardScaler(), LogisticRegression()
    )


def _fit_calendar(
    name: str, X: np.ndarray, y: np.ndarray, columns: Sequence[str], seed: int
) -> Pipeline:
    is_boosting = name == CALENDAR_BOOSTING
    names = CALENDAR_COLUMNS if is_boosting else (*CALENDAR_COLUMNS, *SEASON_COLUMNS)
    places = _column_indices(names, columns)
    selected = FunctionTransformer(select_columns, kw_args={"places": places})
    if not is_boosting:
        head = LogisticRegression(C=0.03, max_iter=2000)
        return make_pipeline(selected, *_scaled(), head).fit(X, y)
    trees = HistGradientBoostingClassifier(
        max_iter=80,
        learning_rate=0.05,
        max_leaf_nodes=8,
        l2_regularization=5,
        min_samples_leaf=_leaf_size(len(y), 40),
        early_stopping=False,
        random_state=seed,
    )
    return make_pipeline(selected, trees).fit(X, y)


def _column_indices(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return the indices of named columns. If none exists, return the first column."""
    return [list(columns).index(name) for name in names if name in columns] or [0]


def _tree(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    options = {"max_depth": 7, "min_samples_leaf": _leaf_size(len(y), 100), **settings}
    return DecisionTreeClassifier(random_state=seed, **options).fit(rows.X, y)


def _forest(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    options = {"min_samples_leaf": _leaf_size(len(y), 12), "max_features": 0.2, **settings}
    share = min(0.4, 20_000 / len(y))  # of rows per tree; neighbouring snapshots are similar
    model = RandomForestClassifier(
        n_estimators=0, max_samples=share, n_jobs=2, warm_start=True, random_state=seed, **options
    )
    return _grow(model, 100, rows.X, y, progress)


def _extra_trees(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    options = {"min_samples_leaf": _leaf_size(len(y), 12), "max_features": 0.25, **settings}
    model = ExtraTreesClassifier(
        n_estimators=0, n_jobs=2, warm_start=True, random_state=seed, **options
    )
    return _grow(model, 60, rows.X, y, progress)


def _boosting(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> BaseEstimator:
    options = {
        "learning_rate": 0.08,
        "max_leaf_nodes": 12,
        "l2_regularization": 5,
        "max_features": 0.3,
        "min_samples_leaf": _leaf_size(len(y), 60),
        **settings,
    }
    progress(0, 1, gettext("Growing trees"))
    # not in steps: each would sort all features into bins again, which takes longer than its trees
    return HistGradientBoostingClassifier(
        max_iter=60, max_bins=64, early_stopping=False, random_state=seed, **options
    ).fit(rows.X, y)


def _grow(
    model: BaseEstimator, trees: int, X: np.ndarray, y: np.ndarray, progress: Progress
) -> BaseEstimator:
    """Fit ten trees at a time."""
    for done in range(10, trees + 1, 10):
        progress(done - 10, trees, gettext("Growing trees"))
        model.set_params(n_estimators=done).fit(X, y)
    return model.set_params(n_jobs=1)  # several threads would sum the trees in any order


def _svm(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    kernel = Nystroem(n_components=min(200, len(y)), gamma=0.01, random_state=seed)
    machine = LinearSVC(random_state=seed, **{"C": 0.001, **settings})
    fitted = make_pipeline(kernel, StandardScaler(), machine).fit(rows.scaled, y)
    return make_pipeline(*rows.steps, *(step for _, step in fitted.steps))


def _neural(
    rows: Rows, y: np.ndarray, seed: int, progress: Progress, settings: Mapping[str, Any]
) -> Pipeline:
    inputs = rows.scaled
    options = {"alpha": 1.0, "learning_rate_init": 0.002, **settings}
    network = MLPClassifier((32, 16), batch_size=min(256, len(y)), random_state=seed, **options)
    epochs = int(np.clip(600_000 / len(y), 12, 60))
    for epoch in range(epochs):
        progress(epoch, epochs, gettext("Training the network"))
        network.partial_fit(inputs, y, classes=[0.0, 1.0])
    return Pipeline([*make_pipeline(*rows.steps).steps, ("network", network)])


def _thread_limit(rows: int) -> threadpool_limits:
    """Limit small data to one OpenMP thread.

    More threads gain nothing there and slow down other processes.
    """
    return threadpool_limits(1 if rows < SINGLE_THREAD_ROWS else None)


def _leaf_size(rows: int, size: int) -> int:
    """Return a leaf size that allows at least fifty leaves."""
    return max(1, min(size, rows // 50))


Fit = Callable[[Rows, np.ndarray, int, Progress, Mapping[str, Any]], BaseEstimator]
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
ESTIMATORS = (*_FITS, "ensemble", "stacked", CLOSED_FORM, SEASONAL, RFM, BG_LOGISTIC, *CALENDAR)


def members_of(name: str) -> tuple[str, ...]:
    """Return the members of an estimator."""
    return {"ensemble": ENSEMBLE, "stacked": STACKED}.get(name, (name,))


def stack_members(members: Sequence[str]) -> tuple[str, ...]:
    """Return the members that a stack consists of.

    These are all that use more than RFM. With a season, plain BG/NBD and products are left out: a
    third learned member would outvote the closed forms that know the season. Other horizons are
    part of the ensemble only.
    """
    excluded = {RFM, HORIZONS, *((CLOSED_FORM, PRODUCTS) if SEASONAL in members else ())}
    return tuple(name for name in members if name not in excluded)


@dataclass(frozen=True, slots=True)
class Examples:
    """What a member is fitted on.

    `X`: (n, k) features. Members that are fitted on the same `Rows` share their scaling.
    `y`: (n,) labels: 0 stays, 1 churns.
    `return_times`: (n,) time until the return, in horizons; infinite without one in the observed
    time.
    `observed_horizons`: (n,) observed time in horizons; 1 by default.
    `columns`: (k,) names of the features. Closed forms and RFM need them; they use the first column
    without.
    """

    X: np.ndarray | Rows
    y: np.ndarray
    return_times: np.ndarray | None = None
    observed_horizons: np.ndarray | None = None
    columns: Sequence[str] = ()


def fit_member(
    name: str,
    examples: Examples,
    *,
    seed: int = 0,
    progress: Progress = silent,
    settings: Mapping[str, Any] | None = None,
) -> BaseEstimator:
    """Fit one member; see `members_of`."""
    progress(0, 1, gettext("Fitting: {name}").format(name=name))
    rows = examples.X if isinstance(examples.X, Rows) else prepare(examples.X)
    y, columns, return_times = examples.y, examples.columns, examples.return_times
    with _thread_limit(len(y)):
        if name in CLOSED_FORM_COLUMNS:
            return ClosedForm(_column_indices(CLOSED_FORM_COLUMNS[name], columns)[0])
        if name == RFM:
            return _small_logistic(_column_indices(RFM_COLUMNS, columns), signed_log).fit(rows.X, y)
        if name == BG_LOGISTIC:
            closed = _column_indices(CLOSED_FORM_COLUMNS[SEASONAL], columns)[:1]
            places = [*closed, *_column_indices(RFM_COLUMNS, columns)]
            return _small_logistic(places, odds_first).fit(rows.X, y)
        if name in CALENDAR:
            return _fit_calendar(name, rows.X, y, columns, seed)

        def fit_whole(rows: Rows, y: np.ndarray, progress: Progress) -> BaseEstimator:
            return _FITS[name](rows, y, seed, progress, settings or {})

        fitted = None
        if return_times is not None and name in SURVIVAL_MEMBERS:
            fitted = fit_survival(fit_whole, rows, return_times, progress)
        if return_times is not None and name == HORIZONS:
            observed = examples.observed_horizons
            horizons = np.ones(len(y)) if observed is None else observed
            others = fit_other_horizons(fit_whole, rows, y, return_times, horizons, progress)
            fitted = LogOdds(others) if others else None
        return fit_whole(rows, y, progress) if fitted is None else fitted
