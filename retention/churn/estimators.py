"""The estimators by name, behind one contract: `fit` gives a `LogOdds`, whatever it is made of.

They take (n, k) floats with missing values as NaN and learn P(churn). Scaling and imputation live inside them. Fits
run in small pieces, so that progress is honest and a cancelled job stops within a piece.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from retention.progress import Progress, part, silent

ENSEMBLE = ("logistic", "boosting", "forest")
CLOSED_FORM = "bg_nbd"
SMALL = 100_000  # rows


class LogOdds(ClassifierMixin, BaseEstimator):
    """The mean of fitted models' probabilities; its decision function is their log-odds.

    Parameters
    ----------
    members : sequence of fitted classifiers
        With ``predict_proba``, or with a ``decision_function`` that is read as log-odds (support-vector machines).
    """

    def __init__(self, members: Sequence[BaseEstimator] = ()) -> None:
        self.members = members
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
        with _calm(len(X)):
            churn = np.mean([_churn(member, X) for member in self.members], axis=0)
        return np.column_stack([1 - churn, churn])

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
        churn = np.clip(X[:, self.column], 1e-6, 1 - 1e-6)
        return np.column_stack([1 - churn, churn])


def _churn(member: BaseEstimator, X: np.ndarray) -> np.ndarray:
    if hasattr(member, "predict_proba"):
        return member.predict_proba(X)[:, 1]
    return expit(member.decision_function(X))


def signed_log(X: np.ndarray) -> np.ndarray:
    """sign(x) · log(1 + |x|): money and counts are skewed, and some are negative."""
    return np.sign(X) * np.log1p(np.abs(X))


def _scaled() -> list[BaseEstimator]:
    return [
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        FunctionTransformer(signed_log),
        StandardScaler(),
    ]


def _logistic(X: np.ndarray, y: np.ndarray, seed: int, progress: Progress) -> Pipeline:
    return make_pipeline(*_scaled(), LogisticRegression(C=0.03, max_iter=2000)).fit(X, y)


def _tree(X: np.ndarray, y: np.ndarray, seed: int, progress: Progress) -> BaseEstimator:
    leaf = _leaf(len(y), 100)
    return DecisionTreeClassifier(max_depth=7, min_samples_leaf=leaf, random_state=seed).fit(X, y)


def _forest(X: np.ndarray, y: np.ndarray, seed: int, progress: Progress) -> BaseEstimator:
    model = RandomForestClassifier(
        n_estimators=0, max_samples=0.4, min_samples_leaf=_leaf(len(y), 12), max_features=0.3, n_jobs=2,
        warm_start=True, random_state=seed,
    )  # fmt: skip
    _in_pieces(model, "n_estimators", 120, 10, X, y, progress)
    return model.set_params(n_jobs=1)  # several threads would add the trees up in any order


def _boosting(X: np.ndarray, y: np.ndarray, seed: int, progress: Progress) -> BaseEstimator:
    model = HistGradientBoostingClassifier(
        max_iter=0, learning_rate=0.04, max_leaf_nodes=12, min_samples_leaf=_leaf(len(y), 60), l2_regularization=5,
        early_stopping=False, warm_start=True, random_state=seed,
    )  # fmt: skip
    return _in_pieces(model, "max_iter", 120, 20, X, y, progress)


def _in_pieces(
    model: BaseEstimator, size: str, most: int, step: int, X: np.ndarray, y: np.ndarray, progress: Progress
) -> BaseEstimator:
    for done in range(step, most + 1, step):
        progress(done - step, most, "Growing trees")
        model.set_params(**{size: done}).fit(X, y)
    return model


def _svm(X: np.ndarray, y: np.ndarray, seed: int, progress: Progress) -> Pipeline:
    kernel = Nystroem(n_components=min(200, len(y)), gamma=0.01, random_state=seed)
    return make_pipeline(*_scaled(), kernel, StandardScaler(), LinearSVC(C=0.001, random_state=seed)).fit(
        X, y
    )


def _neural(X: np.ndarray, y: np.ndarray, seed: int, progress: Progress) -> Pipeline:
    scaled = make_pipeline(*_scaled()).fit(X)
    network = MLPClassifier((32, 16), alpha=1.0, learning_rate_init=0.002, batch_size=256, random_state=seed)
    inputs = scaled.transform(X)
    epochs = int(np.clip(600_000 / len(y), 12, 60))
    for epoch in range(epochs):
        progress(epoch, epochs, "Training the network")
        network.partial_fit(inputs, y, classes=[0.0, 1.0])
    return Pipeline([*scaled.steps, ("network", network)])


def _calm(rows: int) -> threadpool_limits:
    """One OpenMP thread for small data: spinning threads gain nothing there and fight with the other processes."""
    return threadpool_limits(1 if rows < SMALL else None)


def _leaf(rows: int, wanted: int) -> int:
    """Leaves as large as wanted, but at least fifty of them where there are few rows."""
    return max(1, min(wanted, rows // 50))


_FITS: dict[str, Callable[[np.ndarray, np.ndarray, int, Progress], BaseEstimator]] = {
    "logistic": _logistic, "tree": _tree, "forest": _forest, "svm": _svm, "neural": _neural, "boosting": _boosting,
}  # fmt: skip
ESTIMATORS = (*_FITS, "ensemble")


def fit(name: str, X: np.ndarray, y: np.ndarray, *, seed: int = 0, progress: Progress = silent) -> LogOdds:
    """Fit an estimator by name; the same data and seed give the same model.

    Parameters
    ----------
    name : str
        One of `ESTIMATORS`.
    X : numpy.ndarray
        (n, k) floats, missing as NaN.
    y : numpy.ndarray
        (n,) 0 stays, 1 churns; both must occur.
    """
    X = np.where(np.isnan(X).all(axis=0), 0.0, X)  # what nobody has tells nothing, and some cannot stand it
    parts = ENSEMBLE if name == "ensemble" else (name,)
    members = []
    for number, member in enumerate(parts):
        inner = part(progress, number, len(parts))
        inner(0, 1, f"Fitting: {member}")
        with _calm(len(y)):
            members.append(_FITS[member](X, y, seed, inner))
    return LogOdds(members)
