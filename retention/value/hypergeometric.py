"""Gauss's hypergeometric function for arguments that overflow in scipy.

Frequent buyers and long horizons need them.
"""

import numpy as np
from scipy.special import hyp2f1

_TERMS = 400
_NODES = np.linspace(np.log(1e-14), np.log(200.0), 320)
_ROWS = 4096  # per chunk; bounds memory


def power_series(a: float, b: float, c: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return 2F1(a, b; c; z) by its power series, (n,).

    Parameters
    ----------
    a, b : float
        A few units in size.
    c, z : numpy.ndarray
        (n,) any c; 0 ≤ z < 1.

    Notes
    -----
    scipy overflows when c is large. The terms of the series then shrink so fast that summing them
    is the best method.
    """
    values = np.asarray(hyp2f1(a, b, c, z), dtype=float)
    overflowed = ~np.isfinite(values)
    if overflowed.any():
        c, z = (np.broadcast_to(value, values.shape)[overflowed] for value in (c, z))
        term, total = np.ones(len(z)), np.ones(len(z))
        for k in range(_TERMS):
            term = term * (a + k) * (b + k) / ((c + k) * (1 + k)) * z
            total += term
        values[overflowed] = total
    return values


def first_one(b: np.ndarray, c: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return 2F1(1, b; c; z), (n,).

    Parameters
    ----------
    b, c, z : numpy.ndarray
        (n,) with c > b > 0, c > 1, 0 ≤ z < 1.

    Notes
    -----
    When scipy overflows: Euler's integral (c − 1) ∫ (1 − u)^(c−2) (1 − z u)^(−b) du over (0, 1),
    by the trapezoid rule in log v, with 1 − u = exp(−v). The integrand and all its derivatives
    vanish at both ends.
    """
    values = np.asarray(hyp2f1(1.0, b, c, z), dtype=float)
    overflowed = np.flatnonzero(~np.isfinite(values))
    v = np.exp(_NODES)
    for start in range(0, len(overflowed), _ROWS):
        rows = overflowed[start : start + _ROWS]
        b_, c_, z_ = (np.broadcast_to(value, values.shape)[rows, None] for value in (b, c, z))
        height = -(c_ - 1) * v - b_ * np.log(1 - z_ + z_ * np.exp(-v))
        values[rows] = np.trapezoid((c_ - 1) * v * np.exp(height), _NODES, axis=1)
    return values
