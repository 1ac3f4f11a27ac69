"""Logistic regression on the products of every two features, too: what a number means depends on the others.

A hundred features have five thousand products, more than can be learned one by one. By the kernel (1 + γ z·z′)² their
coefficients are drawn together, and some rows as landmarks stand for it (Nyström: Williams, Seeger 2001, Using the
Nyström Method to Speed Up Kernel Machines, NIPS 13). Once fitted it is one quadratic form, so scoring costs a product of
matrices and every customer's reasons are exact.
"""

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


class Quadratic(ClassifierMixin, BaseEstimator):
    """log-odds = z′ products z + slopes · z + intercept, of standardised features z.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty.
    gamma : float
        How much products count beside the features themselves.
    landmarks : int
        Rows that stand for the kernel, at most.
    random_state : int
        Draws them.
    """

    def __init__(
        self, C: float = 0.003, gamma: float = 0.005, landmarks: int = 300, random_state: int = 0
    ) -> None:
        self.C = C
        self.gamma = gamma
        self.landmarks = landmarks
        self.random_state = random_state

    def fit(self, Z: np.ndarray, y: np.ndarray) -> "Quadratic":
        """Learn from (n, k) standardised features without gaps and (n,) labels; both must occur."""
        kernel = Nystroem(
            kernel="poly",
            degree=2,
            gamma=self.gamma,
            coef0=1,
            n_components=min(self.landmarks, len(Z)),
            random_state=self.random_state,
        )
        scaler = StandardScaler(copy=False)
        head = LogisticRegression(C=self.C, max_iter=2000).fit(
            scaler.fit_transform(kernel.fit_transform(Z)), y
        )
        self.classes_ = head.classes_
        # the log-odds are a sum of (1 + γ landmark·z)² with these weights: multiplied out, a quadratic form
        slopes = head.coef_[0] / scaler.scale_
        weights, marks = kernel.normalization_.T @ slopes, self.gamma * kernel.components_
        self.products_ = marks.T @ (weights[:, None] * marks)
        self.slopes_ = 2 * weights @ marks
        self.intercept_ = float(head.intercept_[0] - scaler.mean_ @ slopes + weights.sum())
        return self

    def turned(self, slope: float, shift: float) -> "Quadratic":
        """The same with ``slope · log-odds + shift``, in its place."""
        self.products_ *= slope
        self.slopes_ *= slope
        self.intercept_ = slope * self.intercept_ + shift
        return self

    def contributions(self, Z: np.ndarray) -> np.ndarray:
        """(n, k) what each feature adds to ``intercept_``: Shapley values against the average z = 0.

        Of a product both features get half.
        """
        return Z * (Z @ self.products_ + self.slopes_)

    def decision_function(self, Z: np.ndarray) -> np.ndarray:
        """(n,) log-odds."""
        return self.contributions(Z).sum(axis=1) + self.intercept_

    def predict_proba(self, Z: np.ndarray) -> np.ndarray:
        """(n, 2)."""
        second = expit(self.decision_function(Z))
        return np.column_stack([1 - second, second])

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """(n,) the likelier class."""
        return self.classes_[(self.decision_function(Z) >= 0).astype(int)]
