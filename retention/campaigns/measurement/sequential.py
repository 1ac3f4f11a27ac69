"""Compute effects of a live campaign that may be looked at every day.

Mixture sequential probability ratio test. Effects are extrapolated from the pace so far to the
whole window. Without an effect, the chance that p_n ever falls below α is at most α, for any number
of looks (Johari, Koomen, Pekelis & Walsh 2022). The interval inverts the same test. All daily
intervals together cover the pace up to their day. They are not intersected, because most offers
work in the first days and the pace changes. Cumulative counts are positively correlated between
days, which makes crossings rarer still (Slepian's inequality).
"""

from dataclasses import asdict, dataclass
from math import log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.campaigns.measurement.effects import (
    MIN_BUYERS,
    SampleRatio,
    difference,
    sample_ratio,
)

if TYPE_CHECKING:
    import pandas as pd

    from retention.campaigns.lifecycle.spec import Body
    from retention.campaigns.measurement.outcomes import Outcomes

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class RunningEffect:
    """Effect so far, scaled to the whole window, per treated customer.

    ``low`` and ``high`` hold with 95% on all days at once. ``p_value`` tests for no effect and is
    valid at any time. All but ``tau`` (the fixed scale of effects) are None while a group has too
    few buyers.
    """

    tau: float
    per_customer: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class InterimResult:
    """Interim result of a live campaign."""

    day: int
    days: int
    effects: dict[str, RunningEffect]
    sample_ratio: SampleRatio
    redeemed: int
    ordered: int = 0  # customers with the offer
    variants: dict[str, Any] | None = None  # of `interim.compare_variants`

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def mixture_ratio(
    difference: np.ndarray | float, variance: np.ndarray | float, tau: float
) -> np.ndarray:
    """Return the likelihood ratio of N(0, τ²) against no effect.

    Λ = √(V / (V + τ²)) exp(τ² D² / (2 V (V + τ²))).

    `tau`: τ, fixed before the first look.
    """
    v, d = np.asarray(variance, float), np.asarray(difference, float)
    exponent = np.minimum(tau**2 * d**2 / (2 * v * (v + tau**2)), 700.0)  # avoids overflow
    return np.sqrt(v / (v + tau**2)) * np.exp(exponent)


def always_valid(
    difference: np.ndarray, variance: np.ndarray, tau: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p-values and intervals valid at any time.

    p_n = min(p_{n−1}, 1/Λ_n). The interval contains 0 while 1/Λ_n > α.

    `tau`: τ, fixed before the first look.
    Returns: p never rises. Each interval belongs to its own look.
    """
    p_value = np.minimum.accumulate(np.minimum(1.0, 1 / mixture_ratio(difference, variance, tau)))
    spread = variance + tau**2
    half = np.sqrt(variance * spread / tau**2 * (2 * log(1 / ALPHA) + np.log(spread / variance)))
    return p_value, difference - half, difference + half


def running_effect(
    daily: np.ndarray,
    before: np.ndarray,
    treated: np.ndarray,
    *,
    window_days: int,
    tau: float,
    contact_cost: float = 0.0,
) -> RunningEffect:
    """Return the effect on one metric after the last day.

    `daily`: metric per customer and day since sending.
    `before`: metric before sending, for CUPED.
    """
    totals = np.cumsum(daily, axis=1)
    active = np.cumsum(daily != 0, axis=1) > 0
    enough = np.minimum(active[treated].sum(axis=0), active[~treated].sum(axis=0)) >= MIN_BUYERS
    looks = []
    for day in np.flatnonzero(enough):
        pace = window_days / (day + 1)
        now = pace * totals[:, day]
        effect = difference(now[treated], now[~treated], before[treated], before[~treated])
        if effect.standard_error > 0:
            looks.append((effect.per_customer - contact_cost, effect.standard_error**2))
    if not looks or tau <= 0:
        return RunningEffect(tau)
    means, variances = np.array(looks).T
    p_value, low, high = always_valid(means, variances, tau)
    return RunningEffect(tau, float(means[-1]), float(low[-1]), float(high[-1]), float(p_value[-1]))


def interim_result(
    outcomes: "Outcomes", *, day: int, days: int, planned_share: float, scales: dict[str, float]
) -> InterimResult:
    """Return the interim result after some days.

    `scales`: τ by metric (orders, profit).
    """
    table = outcomes.customers
    treated = table["arm"].to_numpy() == "treatment"
    orders = outcomes.orders.assign(orders=1.0)
    sources = {"orders": (orders, 0.0), "profit": (outcomes.profits, outcomes.contact)}
    effects, sizes = {}, (int(treated.sum()), int((~treated).sum()))
    if min(sizes) > 1 and day > 0:
        for name, tau in scales.items():
            rows, once = sources[name]
            daily = daily_matrix(rows, name, table["customer_id"], day)
            before = table[f"pre_{name}"].to_numpy(float)
            effects[name] = running_effect(
                daily, before, treated, window_days=days, tau=tau, contact_cost=once
            )
    ratio = sample_ratio(*sizes, planned_share)
    ordered = int(table.loc[treated, "buyers"].sum())
    return InterimResult(day, days, effects, ratio, outcomes.redeemed, ordered)


def daily_matrix(rows: "pd.DataFrame", name: str, customers: "pd.Series", days: int) -> np.ndarray:
    """Return a matrix of shape (customers, days).

    `rows`: ``customer_id, day`` and the column ``name``.
    `days`: days that are over; later rows are ignored.
    """
    table = np.zeros((len(customers), days))
    inside = rows[(rows["day"] >= 0) & (rows["day"] < days)]
    place = {customer: number for number, customer in enumerate(customers)}
    at = inside["customer_id"].map(place).to_numpy(int), inside["day"].to_numpy(int)
    np.add.at(table, at, inside[name].to_numpy(float))
    return table


def effect_scales(body: "Body") -> dict[str, float]:
    """Return τ of orders and profit for a campaign version. An order earns value × margin."""
    orders = effect_scale(body.prior.mean, body.prior.sd, body.plan().smallest_effect)
    value = sum(line.sales for line in body.offers) / max(body.audience, 1)
    return {"orders": orders, "profit": orders * value * body.margin}


def effect_scale(uplift: float, uplift_sd: float, detectable: float | None) -> float:
    """Return τ of orders, fixed with the campaign version.

    `uplift_sd`: prior standard deviation. The root mean square of the prior is the lower bound of
    τ.
    """
    return max(sqrt(uplift**2 + uplift_sd**2), detectable or 0.0)
