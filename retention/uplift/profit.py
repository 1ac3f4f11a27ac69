"""What an offer is expected to earn: of one customer, and of a campaign. Money in, money out."""

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
    """ΔΠ = p₁ (m v − d ρ) − p₀ m v − c: what giving the offer earns beyond not giving it.

    The discount is paid on every redeemer, those included who would have bought anyway.

    Parameters
    ----------
    stays : ndarray
        p₀, the probability of an order without the offer.
    uplift : ndarray
        p₁ − p₀; p₁ is kept within 0 … 1.
    value : ndarray
        v, what is spent if there is an order.
    margin, redemption : float or ndarray
        m and ρ, shares: of sales, of buyers in treatment.
    discount, contact : float or ndarray
        d, money off for a redeemer, and c, the cost of one contact.

    Returns
    -------
    ndarray
        In money, of the shape to which all broadcast: (n,), or (n, k) for k offers.
    """
    ordered = np.clip(np.asarray(stays) + uplift, 0, 1)
    return ordered * (margin * value - discount * redemption) - stays * margin * value - contact


def expected_cost(
    stays: np.ndarray,
    uplift: np.ndarray,
    *,
    discount: np.ndarray | float,
    redemption: np.ndarray | float,
    contact: np.ndarray | float,
) -> np.ndarray:
    """p₁ d ρ + c: what the offer is expected to take out of the budget; parameters as `incremental_profit`."""
    return np.clip(np.asarray(stays) + uplift, 0, 1) * discount * redemption + contact


def neslin(
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
    """Profit of a retention campaign: N a { b [g V + d (1 − g)] − d − c } − A (Neslin et al. 2006).

    Parameters
    ----------
    customers, targeted : float
        N, and a, the share of them that gets the offer.
    churners, accepting : float
        b, the share of the targeted who would churn, and g, the share of those who stay because of the offer.
    value, offer, contact, fixed : float
        V, what a kept customer is worth; d; c; A, the campaign's fixed cost.
    """
    kept = churners * (accepting * value + offer * (1 - accepting))
    return customers * targeted * (kept - offer - contact) - fixed


def break_even(*, accepting: float, value: float, offer: float, contact: float) -> float:
    """b*: the share of churners among the targeted at which `neslin` is zero; names as there.

    Raises
    ------
    ValueError
        Where a kept customer is worth nothing: no share is enough.
    """
    gain = accepting * value + offer * (1 - accepting)
    if gain <= 0:
        raise ValueError("a kept customer is worth nothing, so no share of churners breaks even")
    return (offer + contact) / gain
