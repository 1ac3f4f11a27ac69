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

    Parameters
    ----------
    stays : ndarray
        p₀, the probability of an order without the offer.
    uplift : ndarray
        p₁ − p₀; p₁ is clipped to 0 … 1.
    value : ndarray
        v, the spend per order.
    margin, redemption : float or ndarray
        m and ρ, shares: of sales, of buyers in treatment.
    discount, contact : float or ndarray
        d, money off per redeemer, and c, the cost of one contact.

    Returns
    -------
    ndarray
        In money, of the broadcast shape: (n,), or (n, k) for k offers.
    """
    order_probability = np.clip(np.asarray(stays) + uplift, 0, 1)
    return (
        order_probability * (margin * value - discount * redemption)
        - stays * margin * value
        - contact
    )


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

    Parameters
    ----------
    stays, uplift, discount, redemption, contact
        As for `incremental_profit`.
    """
    return np.clip(np.asarray(stays) + uplift, 0, 1) * discount * redemption + contact


def neslin_profit(
    *,
    customers: float,
    targeted: float,
    churners: float,
    accepting: float,
    value: float,
    offer: float,
    contact: float,
    fixed: float = 0.0,
) -> float:
    """Compute Neslin's profit of a retention campaign.

    N a { b [g V + d (1 − g)] − d − c } − A (Neslin et al. 2006).

    Parameters
    ----------
    customers, targeted : float
        N, and a, the share of them that gets the offer.
    churners, accepting : float
        b, the share of the targeted that would churn, and g, the share of those that the offer
        retains.
    value, offer, contact, fixed : float
        V, the value of a retained customer; d; c; A, the campaign's fixed cost.
    """
    retained_value = churners * (accepting * value + offer * (1 - accepting))
    return customers * targeted * (retained_value - offer - contact) - fixed


def break_even_churners(*, accepting: float, value: float, offer: float, contact: float) -> float:
    """Compute the break-even share of churners.

    At this share b* `neslin_profit` is zero.

    Parameters
    ----------
    accepting, value, offer, contact : float
        As for `neslin_profit`.

    Raises
    ------
    ValueError
        A retained customer is worth nothing; no share is enough.
    """
    gain = accepting * value + offer * (1 - accepting)
    if gain <= 0:
        raise ValueError("a kept customer is worth nothing, so no share of churners breaks even")
    return (offer + contact) / gain


STEPS = 50  # of bisection: the price is known to 2⁻⁵⁰ of its range


@dataclass(frozen=True, slots=True)
class Limit:
    """Limit the total usage of offers.

    Parameters
    ----------
    usage : ndarray of shape (n, k)
        Usage by each customer and offer, not negative.
    maximum : float
        Maximum of the sum.
    """

    usage: np.ndarray
    maximum: float


@dataclass(frozen=True, slots=True)
class Allocation:
    """Hold the allocation of offers.

    Parameters
    ----------
    offer : ndarray of int of shape (n,)
        Chosen column, −1 for none.
    profit : float
        Sum over customers.
    bound : float
        Upper bound of any allocation's profit.
    """

    offer: np.ndarray
    profit: float
    bound: float


def allocate_offers(profit: np.ndarray, limits: Sequence[Limit] = ()) -> Allocation:
    """Choose at most one offer per customer.

    The total profit is maximised within the limits.

    Parameters
    ----------
    profit : ndarray of shape (n, k)
        Expected incremental profit of each offer; ``-inf`` if a customer may not have it.
    limits : sequence of Limit
        A budget (usage = cost), a number of customers (usage = 1), a number of calls (usage = 1 in
        one column) …

    Returns
    -------
    Allocation

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
    options = np.hstack([np.zeros((len(profit), 1)), np.asarray(profit, float)])
    limits = [
        Limit(
            np.hstack([np.zeros((len(profit), 1)), np.asarray(limit.usage, float)]), limit.maximum
        )
        for limit in limits
    ]
    if any(limit.maximum < 0 for limit in limits):
        raise ValueError("a limit below zero allows nothing, not even no offer")
    option, prices = _options_at_prices(options, limits)
    option = _fill_rest(option, options, limits)
    net_profit = options - sum(
        (price * limit.usage for price, limit in zip(prices, limits, strict=True)), np.zeros(1)
    )
    bound = net_profit.max(axis=1).sum() + sum(
        price * limit.maximum for price, limit in zip(prices, limits, strict=True)
    )
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
        rests = [limit.maximum - _chosen_values(limit.usage, option).sum() for limit in limits]
        gain = options - _chosen_values(options, option)[:, None]
        extra = [limit.usage - _chosen_values(limit.usage, option)[:, None] for limit in limits]
        fits = gain > 1e-12
        for more_usage, rest in zip(extra, rests, strict=True):
            fits &= more_usage <= rest
        if not fits.any():
            break
        used_share = sum(
            (
                np.maximum(more_usage, 0) / max(rest, 1e-12)
                for more_usage, rest in zip(extra, rests, strict=True)
            ),
            np.zeros(1),
        )
        ratio = np.where(fits, gain / np.maximum(used_share, 1e-12), -np.inf)
        target = ratio.argmax(axis=1)
        order = np.argsort(-ratio[customers, target], kind="stable")
        order = order[fits[order, target[order]]]
        fits_together = np.ones(len(order), bool)
        for more_usage, rest in zip(extra, rests, strict=True):
            fits_together &= (
                np.maximum.accumulate(np.cumsum(more_usage[order, target[order]])) <= rest
            )
        moving = order[fits_together]
        option = option.copy()
        option[moving] = target[moving]
    return option


def _chosen_values(table: np.ndarray, option: np.ndarray) -> np.ndarray:
    """Select each customer's value of the chosen option."""
    return table[np.arange(len(option)), option]
