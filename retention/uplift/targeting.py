"""Whom to give which offer, so that a budget earns most: a multiple-choice knapsack, priced by bisection.

Prices rather than scipy's LP: both reach the same relaxation, but a price is one `argmax` over the customers, which
takes milliseconds for 100,000 of them, needs no (n k)-column program, and reads as a sentence: "an offer is given
where it earns more than λ for each unit of budget".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEPS = 50  # of bisection: the price is known to 2⁻⁵⁰ of its range


@dataclass(frozen=True, slots=True)
class Limit:
    """No more than ``most`` in all of what each offer takes of each customer, ``usage``: (n, k), not negative."""

    usage: np.ndarray
    most: float


@dataclass(frozen=True, slots=True)
class Choice:
    """``offer``: (n,) the chosen column, −1 for none; ``profit``: its sum; ``bound``: no choice whatever earns more."""

    offer: np.ndarray
    profit: float
    bound: float


def choose(profit: np.ndarray, limits: Sequence[Limit] = ()) -> Choice:
    """Choose at most one offer for each customer.

    Parameters
    ----------
    profit : ndarray of shape (n, k)
        Expected incremental profit of each offer; ``-inf`` where a customer may not have it.
    limits : sequence of Limit
        A budget (usage = cost), a number of customers (usage = 1), a number of calls (usage = 1 in one column) …

    Returns
    -------
    Choice

    Notes
    -----
    Lagrange: at prices λ ≥ 0 each customer takes k* = argmax_k (ΔΠ_k − Σ_j λ_j u_jk), none being worth 0. The value at
    prices, L(λ) = Σ_i max_k (…) + Σ_j λ_j most_j, is at least the best profit: for every allowed x,
    Σ ΔΠ x ≤ Σ (ΔΠ − λ u) x + λ most ≤ L(λ). That is ``bound``.

    With one limit the gap is less than one customer's best offer. L is convex and piecewise linear, with slope
    most − usage(λ); bisection ends at λ* where usage crosses ``most``. Customers who choose alike just above and just
    below λ* are settled; each of the others is indifferent at λ* between two offers a, b with
    ΔΠ_b − ΔΠ_a = λ* (u_b − u_a). Moving them one by one from a to b therefore moves profit along the line
    ΔΠ(x) = L(λ*) − λ* (most − usage(x)), until the next, a customer i, does not fit any more. What is left of the
    limit then is less than u_bi − u_ai, so the profit is short of L(λ*), hence of the optimum, by
    λ* (most − usage) < λ* (u_bi − u_ai) = ΔΠ_bi − ΔΠ_ai ≤ max_k ΔΠ_ik. With more limits the outer price is
    searched around the inner; ``bound`` then tells how much may be missing at most.

    Sinha & Zoltners 1979; Everett 1963.
    """
    options = np.hstack([np.zeros((len(profit), 1)), np.asarray(profit, float)])
    limits = [
        Limit(np.hstack([np.zeros((len(profit), 1)), np.asarray(one.usage, float)]), one.most)
        for one in limits
    ]
    if any(one.most < 0 for one in limits):
        raise ValueError("a limit below zero allows nothing, not even no offer")
    chosen, prices = _priced(options, limits)
    chosen = _filled(chosen, options, limits)
    priced = options - sum(
        (price * one.usage for price, one in zip(prices, limits, strict=True)), np.zeros(1)
    )
    bound = priced.max(axis=1).sum() + sum(
        price * one.most for price, one in zip(prices, limits, strict=True)
    )
    return Choice(chosen - 1, float(_of(options, chosen).sum()), float(bound))


def _priced(options: np.ndarray, limits: Sequence[Limit]) -> tuple[np.ndarray, list[float]]:
    """Each customer's best option at the lowest prices that keep every limit, and the prices."""
    if not limits:
        return options.argmax(axis=1), []
    limit, rest = limits[0], limits[1:]
    chosen, prices = _priced(options, rest)
    if _of(limit.usage, chosen).sum() <= limit.most:
        return chosen, [0.0, *prices]
    free, dear = 0.0, _highest(options, limit.usage)
    for _ in range(STEPS):
        price = (free + dear) / 2
        tried, found = _priced(options - price * limit.usage, rest)
        if _of(limit.usage, tried).sum() <= limit.most:
            dear, chosen, prices = price, tried, found
        else:
            free = price
    if (
        _of(limit.usage, chosen).sum() > limit.most
    ):  # never affordable in the loop: at the highest price nothing is taken
        chosen, prices = _priced(options - dear * limit.usage, rest)
    return chosen, [dear, *prices]


def _highest(options: np.ndarray, usage: np.ndarray) -> float:
    """A price at which nobody takes anything that uses the limit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((usage > 0) & (options > 0), options / usage, 0.0)
    return float(ratio.max()) * 2 + 1e-12


def _filled(chosen: np.ndarray, options: np.ndarray, limits: Sequence[Limit]) -> np.ndarray:
    """Spend what the prices left over: better options that still fit, the most profit for each unit of the limit first."""
    customers = np.arange(len(chosen))
    for _ in range(options.shape[1] * 4):
        left = [one.most - _of(one.usage, chosen).sum() for one in limits]
        gain = options - _of(options, chosen)[:, None]
        extra = [one.usage - _of(one.usage, chosen)[:, None] for one in limits]
        fits = gain > 1e-12
        for more, room in zip(extra, left, strict=True):
            fits &= more <= room
        if not fits.any():
            break
        price = sum(
            (
                np.maximum(more, 0) / max(room, 1e-12)
                for more, room in zip(extra, left, strict=True)
            ),
            np.zeros(1),
        )
        worth = np.where(fits, gain / np.maximum(price, 1e-12), -np.inf)
        to = worth.argmax(axis=1)
        order = np.argsort(-worth[customers, to], kind="stable")
        order = order[fits[order, to[order]]]
        inside = np.ones(len(order), bool)
        for more, room in zip(extra, left, strict=True):
            inside &= np.maximum.accumulate(np.cumsum(more[order, to[order]])) <= room
        moved = order[inside]
        chosen = chosen.copy()
        chosen[moved] = to[moved]
    return chosen


def _of(table: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return table[np.arange(len(chosen)), chosen]
