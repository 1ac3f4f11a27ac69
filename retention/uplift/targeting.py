"""Allocate offers by profit under a budget."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def incremental_profit(
    stays: np.ndarray,
    uplift: np.ndarray,
    value: np.ndarray,
    *,
    margin: np.ndarray | float,
    discount: np.ndarray | float,
    redemption: np.ndarray | float,
    contact: np.ndarray | float,
) -> np.ndarray:
    """Compute the expected profit of an offer.

    ΔΠ = p₁ (m v − d ρ) − p₀ m v − c. The discount is paid to every redeemer, including customers
    who would have bought anyway.

    `stays`: p₀, the probability of an order without the offer.
    `uplift`: p₁ − p₀; p₁ is clipped to 0 … 1.
    `value`: v, the spend per order.
    `margin`, `redemption`: m and ρ, shares: of sales, of buyers in treatment.
    Returns: in money, of the broadcast shape: (n,), or (n, k) for k offers.
    """
    order_probability, earned = np.clip(np.asarray(stays) + uplift, 0, 1), margin * value
    return order_probability * (earned - discount * redemption) - stays * margin * value - contact


def expected_cost(
    stays: np.ndarray,
    uplift: np.ndarray,
    *,
    discount: np.ndarray | float,
    redemption: np.ndarray | float,
    contact: np.ndarray | float,
) -> np.ndarray:
    """Compute the expected cost of an offer.

    It is p₁ d ρ + c.

    `stays`, `uplift`, `discount`, `redemption`, `contact`: as for `incremental_profit`.
    """
    return np.clip(np.asarray(stays) + uplift, 0, 1) * discount * redemption + contact


STEPS = 50  # of bisection: the price is known to 2⁻⁵⁰ of its range


@dataclass(frozen=True, slots=True)
class Limit:
    """Limit the total usage of offers."""

    usage: np.ndarray
    maximum: float


@dataclass(frozen=True, slots=True)
class Allocation:
    """Hold the allocation of offers.

    `offer`: chosen column, −1 for none.
    """

    offer: np.ndarray
    profit: float
    bound: float


def allocate_offers(profit: np.ndarray, limits: Sequence[Limit] = ()) -> Allocation:
    """Choose at most one offer per customer.

    The total profit is maximised within the limits.

    `profit`: expected incremental profit of each offer; ``-inf`` if a customer may not have it.
    `limits`: a budget (usage = cost), a number of customers (usage = 1), a number of calls (usage =
    1 in one column) ….

    Notes
    -----
    A multiple-choice knapsack, solved by bisection of prices. scipy's LP reaches the same
    relaxation, but a price needs one `argmax` over customers (milliseconds for 100,000) and is easy
    to explain: "an offer is given if it earns more than λ per unit of budget".

    Lagrange: at prices λ ≥ 0 each customer takes k* = argmax_k (ΔΠ_k − Σ_j λ_j u_jk); no offer is
    worth 0. The value at prices, L(λ) = Σ_i max_k (…) + Σ_j λ_j most_j, is at least the best
    profit: for every allowed x, Σ ΔΠ x ≤ Σ (ΔΠ − λ u) x + λ most ≤ L(λ). That is ``bound``.

    With one limit the gap is less than one customer's best offer. L is convex and piecewise linear,
    with slope most − usage(λ); bisection ends at λ* where usage crosses ``most``. Customers with
    the same choice just above and just below λ* are settled; each of the others is indifferent at
    λ* between two offers a, b with ΔΠ_b − ΔΠ_a = λ* (u_b − u_a). Moving them in turn from a to b
    moves profit along the line ΔΠ(x) = L(λ*) − λ* (most − usage(x)), until the next customer i does
    not fit. The rest of the limit is then less than u_bi − u_ai, so the profit is short of L(λ*),
    hence of the optimum, by λ* (most − usage) < λ* (u_bi − u_ai) = ΔΠ_bi − ΔΠ_ai ≤ max_k ΔΠ_ik.
    With more limits the outer price is searched around the inner; ``bound`` then limits the gap.

    References
    ----------
    Sinha & Zoltners 1979; Everett 1963.
    """
    none = np.zeros((len(profit), 1))  # the first option
    options = np.hstack([none, np.asarray(profit, float)])
    limits = [
        Limit(np.hstack([none, np.asarray(limit.usage, float)]), limit.maximum) for limit in limits
    ]
    if any(limit.maximum < 0 for limit in limits):
        raise ValueError("a limit below zero allows nothing, not even no offer")
    option, prices = _options_at_prices(options, limits)
    option = _fill_rest(option, options, limits)
    priced = list(zip(prices, limits, strict=True))
    net_profit = options - sum((price * limit.usage for price, limit in priced), np.zeros(1))
    paid = sum(price * limit.maximum for price, limit in priced)
    bound = net_profit.max(axis=1).sum() + paid
    return Allocation(option - 1, float(_chosen_values(options, option).sum()), float(bound))


def _options_at_prices(
    options: np.ndarray, limits: Sequence[Limit]
) -> tuple[np.ndarray, list[float]]:
    """Return the best options and their prices.

    Prices are the lowest at which every limit holds.
    """
    if not limits:
        return options.argmax(axis=1), []
    limit, rest = limits[0], limits[1:]
    option, prices = _options_at_prices(options, rest)
    if _chosen_values(limit.usage, option).sum() <= limit.maximum:
        return option, [0.0, *prices]
    low, high = 0.0, _prohibitive_price(options, limit.usage)
    for _ in range(STEPS):
        price = (low + high) / 2
        trial, trial_prices = _options_at_prices(options - price * limit.usage, rest)
        if _chosen_values(limit.usage, trial).sum() <= limit.maximum:
            high, option, prices = price, trial, trial_prices
        else:
            low = price
    if _chosen_values(limit.usage, option).sum() > limit.maximum:  # no price tried is feasible
        option, prices = _options_at_prices(options - high * limit.usage, rest)
    return option, [high, *prices]


def _prohibitive_price(options: np.ndarray, usage: np.ndarray) -> float:
    """Return a price that excludes the limit's offers."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((usage > 0) & (options > 0), options / usage, 0.0)
    return float(ratio.max()) * 2 + 1e-12


def _fill_rest(option: np.ndarray, options: np.ndarray, limits: Sequence[Limit]) -> np.ndarray:
    """Spend the rest of the limits.

    Better options that still fit replace the chosen ones. Options with the most profit per unit of
    the limit come first.
    """
    customers = np.arange(len(option))
    for _ in range(options.shape[1] * 4):
        gain = options - _chosen_values(options, option)[:, None]
        used = [_chosen_values(limit.usage, option) for limit in limits]
        extra = [
            (limit.usage - now[:, None], limit.maximum - now.sum())
            for limit, now in zip(limits, used, strict=True)
        ]
        fits = gain > 1e-12
        for more, rest in extra:
            fits &= more <= rest
        if not fits.any():
            break
        shares = (np.maximum(more, 0) / max(rest, 1e-12) for more, rest in extra)
        used_share = sum(shares, np.zeros(1))
        ratio = np.where(fits, gain / np.maximum(used_share, 1e-12), -np.inf)
        target = ratio.argmax(axis=1)
        order = np.argsort(-ratio[customers, target], kind="stable")
        order = order[fits[order, target[order]]]
        fits_together = np.ones(len(order), bool)
        for more, rest in extra:
            total = np.cumsum(more[order, target[order]])
            fits_together &= np.maximum.accumulate(total) <= rest
        moving = order[fits_together]
        option = option.copy()
        option[moving] = target[moving]
    return option


def _chosen_values(table: np.ndarray, option: np.ndarray) -> np.ndarray:
    """Select each customer's value of the chosen option."""
    return table[np.arange(len(option)), option]
