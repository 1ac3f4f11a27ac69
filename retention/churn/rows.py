"""Feature rows of several fits, prepared once.

The members of an ensemble, and the intervals of a member, are fitted on mostly the same rows. Their
scaled features and kernel features are computed for all rows together; each fit selects its own.
"""

from collections.abc import Callable
from threading import RLock

import numpy as np
from sklearn.base import BaseEstimator

from retention.churn.quadratic import LANDMARKS, KernelFeatures

Steps = Callable[[], list[BaseEstimator]]


class Rows:
    """Rows of features.

    Threads may share them.

    `steps`: returns new steps of the scaling: imputation first, then others without missing values.
    """

    def __init__(self, X: np.ndarray, steps: Steps) -> None:
        self.X = _filled(X)
        self._source: tuple[Rows, np.ndarray] | None = None  # all rows, and the places of these
        self._steps = steps
        self._lock = RLock()
        self._scaling: tuple[list[BaseEstimator], np.ndarray] | None = None
        self._kernels: dict[tuple[float, int], KernelFeatures] = {}

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, keep: np.ndarray) -> "Rows":
        """Select rows by a boolean mask (n,); they keep the scaling of all rows."""
        selected = Rows(self.X[keep], self._steps)
        whole, places = self._source or (self, np.arange(len(self)))
        selected._source = whole, places[keep]
        return selected

    @property
    def _whole(self) -> "Rows":
        return self._source[0] if self._source else self

    @property
    def steps(self) -> list[BaseEstimator]:
        """The fitted steps of the scaling of all rows."""
        return self._whole._scaled()[0]

    @property
    def scaled(self) -> np.ndarray:
        """Scaled features, (n, m) float32.

        Half the time of float64; its rounding is far below the tolerance of the fits.
        """
        return self._own(self._whole._scaled()[1])

    def kernel(self, gamma: float, seed: int) -> tuple[KernelFeatures, np.ndarray]:
        """Return the kernel of all rows and the kernel features of these, (n, landmarks)."""
        whole = self._whole
        with whole._lock:
            if (gamma, seed) not in whole._kernels:
                whole._kernels[gamma, seed] = KernelFeatures.fit(
                    whole._scaled()[1], gamma, LANDMARKS, seed
                )
            found = whole._kernels[gamma, seed]
        return found, self._own(found.inputs)

    def _own(self, values: np.ndarray) -> np.ndarray:
        return values[self._source[1]] if self._source else values

    def _scaled(self) -> tuple[list[BaseEstimator], np.ndarray]:
        """Fit imputation and scaling."""
        with self._lock:
            if self._scaling is None:
                steps = self._steps()
                steps[0].fit(_with_same_medians(self.X))
                Z = steps[0].transform(self.X)
                for step in steps[1:]:
                    Z = step.fit_transform(Z)
                self._scaling = steps, Z.astype(np.float32)
            return self._scaling


def _filled(X: np.ndarray) -> np.ndarray:
    """Fill columns without values with 0; some estimators reject them."""
    is_empty = np.isnan(X).all(axis=0)
    return np.where(is_empty, 0.0, X) if is_empty.any() else X


def _with_same_medians(X: np.ndarray) -> np.ndarray:
    """Return two rows with the medians and the incomplete columns of many, (2, k).

    Fitting `SimpleImputer` on them gives the same imputer. On many rows it sorts a masked array,
    which takes as long as fitting a logistic regression.
    """
    medians = np.nanmedian(X, axis=0)
    return np.stack([medians, np.where(np.isnan(X).any(axis=0), np.nan, medians)])
