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


_EXPONENTS = -8.0, 4.0  # of searched values of zero-concentrated differential privacy


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


def noisy_whole(exact: np.ndarray, scale: float) -> np.ndarray:
    """Add discrete Gaussian noise to each whole number, (k,). The cost is as of `noisy_vector`."""
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T=float)
    return np.array(dp.m.make_gaussian(*space, scale=scale)(exact.tolist()))


@cache
def rho_of(epsilon: float, delta: float) -> float:
    """Return the ρ whose guarantee is (ε, δ), by OpenDP's conversion.

    References
    ----------
    Bun and Steinke (2016), Concentrated Differential Privacy.
    """

    def is_within(exponent: float) -> bool:
        profile = dp.c.make_zCDP_to_approxDP(_gaussian(1 / sqrt(2 * 10**exponent))).map(1.0)
        return bool(profile.epsilon(delta) <= epsilon)

    return float(10 ** dp.binary_search(is_within, bounds=_EXPONENTS))


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
