"""How small an effect a hold-out can detect, and how many customers an effect needs. Two-sided 5 %, power 80 %."""

from math import ceil, sqrt
from statistics import NormalDist

Z_ALPHA = NormalDist().inv_cdf(0.975)
Z_POWER = NormalDist().inv_cdf(0.8)


def smallest_effect(rate: float, treated: int, control: int) -> float | None:
    """The smallest difference of two shares that is detected in four campaigns of five.

    Parameters
    ----------
    rate : float
        The share that buys without an offer, 0 … 1.
    treated, control : int
        Customers in each arm.

    Returns
    -------
    float or None
        In shares (0.03 is three customers in a hundred); None where an arm is empty.
    """
    if treated < 1 or control < 1:
        return None
    return (Z_ALPHA + Z_POWER) * sqrt(rate * (1 - rate) * (1 / treated + 1 / control))


def customers_per_arm(rate: float, with_offer: float) -> int:
    """Customers that each of two equal arms needs to tell ``with_offer`` from ``rate`` (Fleiss 1981, uncorrected).

    Raises
    ------
    ValueError
        Where the two are equal: no number is enough.
    """
    if rate == with_offer:
        raise ValueError("two equal shares cannot be told apart by any number of customers")
    pooled = (rate + with_offer) / 2
    spread = Z_ALPHA * sqrt(2 * pooled * (1 - pooled)) + Z_POWER * sqrt(
        rate * (1 - rate) + with_offer * (1 - with_offer)
    )
    return ceil((spread / (with_offer - rate)) ** 2)
