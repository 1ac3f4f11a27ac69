"""Transformations of feature values shared by models."""

import numpy as np


def signed_log(values: np.ndarray) -> np.ndarray:
    """Return sign(x) · log(1 + |x|): money and counts are skewed, and some are negative.

    Examples
    --------
    >>> float(signed_log(np.array([0.0]))[0])
    0.0
    """
    return np.sign(values) * np.log1p(np.abs(values))
