"""Gauss's hypergeometric function where scipy's overflows: frequent buyers, long horizons."""

import numpy as np
from scipy.special import hyp2f1

_TERMS = 400
_NODES = np.linspace(np.log(1e-14), np.log(200.0), 320)
_ROWS = 4096  # at a time: bounds memory


def power_series(a: float, b: float, c: np.ndarray, z: np.ndarray) -> np.ndarray:
    """2F1(a, b; c; z) for a, b of a few units and any c, 0 <= z < 1, (n,).

    Where scipy overflows c is large, and then the terms shrink so fast that the series itself is the best way.
    """
    found = np.asarray(hyp2f1(a, b, c, z), dtype=float)
    lost = ~np.isfinite(found)
    if lost.any():
        c, z = (np.broadcast_to(value, found.shape)[lost] for value in (c, z))
        term, total = np.ones(len(z)), np.ones(len(z))
        for k in range(_TERMS):
            term = term * (a + k) * (b + k) / ((c + k) * (1 + k)) * z
            total += term
        found[lost] = total
    return found


def first_one(b: np.ndarray, c: np.ndarray, z: np.ndarray) -> np.ndarray:
    """2F1(1, b; c; z) for c > b > 0, c > 1, 0 <= z < 1, (n,).

    Where scipy overflows, Euler's integral (c − 1) ∫ (1 − u)^(c−2) (1 − z u)^(−b) du over (0, 1), by the trapezoid rule
    in log v, 1 − u = exp(−v): the integrand vanishes at both ends with all its derivatives.
    """
    found = np.asarray(hyp2f1(1.0, b, c, z), dtype=float)
    lost = np.flatnonzero(~np.isfinite(found))
    v = np.exp(_NODES)
    for start in range(0, len(lost), _ROWS):
        rows = lost[start : start + _ROWS]
        b_, c_, z_ = (np.broadcast_to(value, found.shape)[rows, None] for value in (b, c, z))
        height = -(c_ - 1) * v - b_ * np.log(1 - z_ + z_ * np.exp(-v))
        found[rows] = np.trapezoid((c_ - 1) * v * np.exp(height), _NODES, axis=1)
    return found
