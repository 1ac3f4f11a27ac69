"""Draw the noise of differential privacy with OpenDP, which the extra ``privacy`` brings.

Its samplers are discrete: what floating-point rounding reveals about the exact value is part of
the proof (Mironov 2012, On Significance of the Least Significant Bits).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import log, sqrt
from typing import Any

import numpy as np
from scipy.optimize import brentq

try:  # the extra `privacy`
    import opendp.prelude as dp

    dp.enable_features("contrib")
except ImportError:
    dp = None


@dataclass(frozen=True, slots=True)
class Figure:
    """An exact count or sum, and the most that one customer changes it by."""

    name: str
    value: int
    most_of_one: int = 1
    unit: str = "customers"  # or money


_RHO = 1e-8, 1e4  # searched values of zero-concentrated differential privacy


def noisy_count(exact: int, scale: float) -> int:
    """Add discrete Laplace noise. The cost is ε = change by one customer ÷ scale."""
    return int(_laplace(scale)(exact))


def likely_error(scale: float) -> float:
    """Return the half-width of the 95% interval of Laplace noise."""
    return scale * log(1 / 0.05)


def noisy_vector(exact: np.ndarray, scale: float) -> np.ndarray:
    """Add Gaussian noise to each value, (k,). The cost is ρ = ½ (L2 change ÷ scale)²."""
    noisy: list[float] = _gaussian(scale)(exact.tolist())
    return np.array(noisy)


@cache
def rho_of(epsilon: float, delta: float) -> float:
    """Return the ρ whose guarantee is (ε, δ), by OpenDP's conversion.

    References
    ----------
    Bun and Steinke (2016), Concentrated Differential Privacy.
    """

    def excess(exponent: float) -> float:
        profile = dp.c.make_zCDP_to_approxDP(_gaussian(1 / sqrt(2 * 10**exponent))).map(1.0)
        return float(profile.epsilon(delta)) - epsilon

    # the lower end of the bracket: rounding must not cost more than was stated
    return 10 ** (brentq(excess, *map(np.log10, _RHO), xtol=1e-9) - 1e-8)


@cache
def _laplace(scale: float) -> Any:
    return dp.m.make_laplace(dp.atom_domain(T=int), dp.absolute_distance(T=int), scale=scale)


@cache
def _gaussian(scale: float) -> Any:
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.l2_distance(T=float)
    return dp.m.make_gaussian(*space, scale=scale)


def noisy_figures(exact: Sequence[Figure], epsilon: float) -> list[dict[str, Any]]:
    """Release counts and sums; each costs the same part of ε.

    Returns: ``name``, ``unit``, the noisy ``value`` and its 95% range ``low`` to ``high``; none is
    below 0.
    """
    released = []
    for figure in exact:
        scale = figure.most_of_one * len(exact) / epsilon
        value, error = noisy_count(figure.value, scale), likely_error(scale)
        released.append(
            {
                "name": figure.name,
                "unit": figure.unit,
                "value": max(0, value),
                "low": max(0, round(value - error)),
                "high": max(0, round(value + error)),
            }
        )
    return released
