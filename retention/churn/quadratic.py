"""Logistic regression on all products of two features.

A hundred features have five thousand products, too many to fit freely. The kernel (1 + γ z·z′)²
shrinks their coefficients together, and a sample of rows (landmarks) approximates it. The fitted
model is one quadratic form: scoring is a matrix product, and contributions are exact.

References
----------
Williams, Seeger (2001), Using the Nyström Method to Speed Up Kernel Machines, NIPS 13.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

LANDMARKS = 300  # rows to approximate the kernel


@dataclass(frozen=True, slots=True)
class KernelFeatures:
    """Rows in the approximated kernel, standardised.

    `inputs`: (n, l) float32 features, half the time of float64.
    """

    gamma: float
    marks: np.ndarray
    normalization: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    inputs: np.ndarray

    @classmethod
    def fit(cls, Z: np.ndarray, gamma: float, landmarks: int, seed: int) -> "KernelFeatures":
        """Draw the landmarks and compute the features of rows.

        `landmarks`: at most; no more than rows.
        """
        kernel = Nystroem(
            kernel="poly",
            degree=2,
            gamma=gamma,
            coef0=1,
            n_components=min(landmarks, len(Z)),
            random_state=seed,
        )
        scaler = StandardScaler(copy=False)
        inputs = scaler.fit_transform(kernel.fit_transform(Z)).astype(np.float32, copy=False)
        return cls(
            gamma,
            kernel.components_.astype(float),
            kernel.normalization_.astype(float),
            scaler.mean_.astype(float),
            scaler.scale_.astype(float),
            inputs,
        )


class Quadratic(ClassifierMixin, BaseEstimator):
    """Log-odds = z′ products z + slopes · z + intercept.

    z are standardised features.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty.
    gamma : float
        Weight of products relative to single features.
    landmarks : int
        Largest number of rows to approximate the kernel.
    random_state : int
        Seed for the landmarks.
    """

    def __init__(
        self,
        C: float = 0.003,
        gamma: float = 0.005,
        landmarks: int = LANDMARKS,
        random_state: int = 0,
    ) -> None:
        self.C = C
        self.gamma = gamma
        self.landmarks = landmarks
        self.random_state = random_state

    def fit(self, Z: np.ndarray, y: np.ndarray) -> "Quadratic":
        """Fit the model.

        Parameters
        ----------
        Z : numpy.ndarray
            (n, k) standardised features without missing values.
        y : numpy.ndarray
            (n,) labels with both classes.
        """
        features = KernelFeatures.fit(Z, self.gamma, self.landmarks, self.random_state)
        return self.fit_kernel(features, features.inputs, y)

    def fit_kernel(self, kernel: KernelFeatures, inputs: np.ndarray, y: np.ndarray) -> "Quadratic":
        """Fit the model on kernel features, which several fits may share.

        Parameters
        ----------
        kernel : KernelFeatures
        inputs : numpy.ndarray
            (n, l) kernel features of the rows.
        y : numpy.ndarray
            (n,) labels with both classes.
        """
        head = LogisticRegression(C=self.C, max_iter=2000).fit(inputs, y)
        self.classes_ = head.classes_
        # expand the weighted sum of (1 + γ landmark·z)² to a quadratic form
        slopes = head.coef_[0].astype(float) / kernel.scale
        weights, marks = kernel.normalization.T @ slopes, kernel.gamma * kernel.marks
        self.products_ = marks.T @ (weights[:, None] * marks)
        self.slopes_ = 2 * weights @ marks
        self.intercept_ = float(head.intercept_[0] - kernel.mean @ slopes + weights.sum())
        return self

    def rescale(self, slope: float, shift: float) -> "Quadratic":
        """Replace the log-odds by ``slope · log-odds + shift`` in place."""
        self.products_ *= slope
        self.slopes_ *= slope
        self.intercept_ = slope * self.intercept_ + shift
        return self

    def contributions(self, Z: np.ndarray) -> np.ndarray:
        """Return each feature's contribution to the log-odds, (n, k).

        These are Shapley values against the average z = 0: each feature of a product gets half.
        """
        return Z * (Z @ self.products_ + self.slopes_)

    def decision_function(self, Z: np.ndarray) -> np.ndarray:
        """Return log-odds, (n,)."""
        return self.contributions(Z).sum(axis=1) + self.intercept_

    def predict_proba(self, Z: np.ndarray) -> np.ndarray:
        """Return class probabilities, (n, 2)."""
        second = expit(self.decision_function(Z))
        return np.column_stack([1 - second, second])

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Return the more likely class, (n,)."""
        return self.classes_[(self.decision_function(Z) >= 0).astype(int)]
