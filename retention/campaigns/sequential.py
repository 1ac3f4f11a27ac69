"""Figures that may be looked at every day: the mixture sequential probability ratio test. Pure arithmetic.

Effects are told at the pace so far, as what the whole window would bring. Under "no effect", the chance that p_n ever
falls below α, however often one looks, is at most α (Johari, Koomen, Pekelis & Walsh 2022); the interval turns the same
statement round: each day's holds the pace up to that day, on all days at once. They are not cut with each other, for most
offers work in their first days, and what is true of these is not of the window. Counts that pile up on the same customers
move together from day to day, which makes a crossing rarer still (Slepian's inequality).
"""

from dataclasses import asdict, dataclass
from math import log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.campaigns.measurement import LEAST_BUYERS, SampleRatio, difference, sample_ratio

if TYPE_CHECKING:
    import pandas as pd

    from retention.campaigns.outcomes import Outcomes
    from retention.campaigns.spec import Body

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Running:
    """An effect while the window is open, in what the whole window would bring at this pace, for each treated customer.

    ``low`` … ``high`` holds what is true of that pace with 95 % on every day at once; ``p_value``, of there being no effect at
    all, is always valid. All but ``tau`` (the scale of effects that was fixed beforehand) are None as long as an arm has
    too few buyers to tell.
    """

    tau: float
    per_customer: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A campaign that is looked at before its window is over."""

    day: int
    days: int
    effects: dict[str, Running]
    sample_ratio: SampleRatio
    redeemed: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def mixture_ratio(
    difference: np.ndarray | float, variance: np.ndarray | float, tau: float
) -> np.ndarray:
    """Λ = √(V / (V + τ²)) exp(τ² D² / (2 V (V + τ²))): how much likelier "some effect ~ N(0, τ²)" is than "none".

    Parameters
    ----------
    difference, variance : float or ndarray
        D, the difference of the arms' means, and V, its variance, at each look.
    tau : float
        τ; it has to be fixed before the first look.
    """
    v, d = np.asarray(variance, float), np.asarray(difference, float)
    exponent = np.minimum(
        tau**2 * d**2 / (2 * v * (v + tau**2)), 700.0
    )  # beyond, it is certain, and exp overflows
    return np.sqrt(v / (v + tau**2)) * np.exp(exponent)


def always_valid(
    difference: np.ndarray, variance: np.ndarray, tau: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_n = min(p_{n−1}, 1/Λ_n), and the interval of which 1/Λ_n ≤ α leaves out 0, at each of (m,) looks.

    Returns
    -------
    p_value, low, high : ndarray of shape (m,)
        p never rises: that there is no effect at all is ruled out for good. Each interval is of its own look.
    """
    p_value = np.minimum.accumulate(np.minimum(1.0, 1 / mixture_ratio(difference, variance, tau)))
    spread = variance + tau**2
    half = np.sqrt(variance * spread / tau**2 * (2 * log(1 / ALPHA) + np.log(spread / variance)))
    return p_value, difference - half, difference + half


def running(
    daily: np.ndarray,
    before: np.ndarray,
    treated: np.ndarray,
    *,
    window_days: int,
    tau: float,
    once: float = 0.0,
) -> Running:
    """The effect on one metric at the last of the days so far, all the earlier looks counted in.

    Parameters
    ----------
    daily : ndarray of shape (n, days)
        The metric of each customer on each day since sending.
    before : ndarray of shape (n,)
        The metric before sending, for CUPED.
    treated : ndarray of bool, shape (n,)
    tau : float
        Scale of effects over the whole window.
    once : float
        What each treated customer cost on the first day (the contact): no pace, so it is taken off what the window brings.
    """
    totals = np.cumsum(daily, axis=1)
    active = np.cumsum(daily != 0, axis=1) > 0
    enough = np.minimum(active[treated].sum(axis=0), active[~treated].sum(axis=0)) >= LEAST_BUYERS
    looks = []
    for day in np.flatnonzero(enough):
        pace = window_days / (day + 1)
        found = difference(
            pace * totals[treated, day],
            pace * totals[~treated, day],
            before[treated],
            before[~treated],
        )
        if found.standard_error > 0:
            looks.append((found.per_customer - once, found.standard_error**2))
    if not looks or tau <= 0:
        return Running(tau)
    means, variances = np.array(looks).T
    p_value, low, high = always_valid(means, variances, tau)
    return Running(tau, float(means[-1]), float(low[-1]), float(high[-1]), float(p_value[-1]))


def look(
    outcomes: "Outcomes",
    *,
    day: int,
    days: int,
    planned_share: float,
    scales: dict[str, float],
) -> Look:
    """Look at a live campaign after ``day`` of its ``days``; ``scales``: metric (orders, profit) → τ."""
    table = outcomes.customers
    treated = table["arm"].to_numpy() == "treatment"
    sources = {
        "orders": (outcomes.orders.assign(orders=1.0), 0.0),
        "profit": (outcomes.profits, outcomes.contact),
    }
    effects = {}
    if min(treated.sum(), (~treated).sum()) > 1 and day > 0:
        for name, tau in scales.items():
            rows, once = sources[name]
            effects[name] = running(
                by_day(rows, name, table["customer_id"], day),
                table[f"pre_{name}"].to_numpy(float),
                treated,
                window_days=days,
                tau=tau,
                once=once,
            )
    ratio = sample_ratio(int(treated.sum()), int((~treated).sum()), planned_share)
    return Look(day, days, effects, ratio, outcomes.redeemed)


def by_day(rows: "pd.DataFrame", name: str, customers: "pd.Series", days: int) -> np.ndarray:
    """``customer_id, day, name`` as a matrix (n customers, days); only days that are over count."""
    table = np.zeros((len(customers), days))
    inside = rows[(rows["day"] >= 0) & (rows["day"] < days)]
    place = {customer: number for number, customer in enumerate(customers)}
    np.add.at(
        table,
        (inside["customer_id"].map(place).to_numpy(int), inside["day"].to_numpy(int)),
        inside[name].to_numpy(float),
    )
    return table


def scales(body: "Body") -> dict[str, float]:
    """τ of orders and of profit, as a campaign's version fixes them (`scale`); an order earns value × margin."""
    orders = scale(body.prior.mean, body.prior.sd, body.plan().smallest_effect)
    value = sum(line.sales for line in body.offers) / max(body.audience, 1)
    return {"orders": orders, "profit": orders * value * body.margin}


def scale(uplift: float, uplift_sd: float, detectable: float | None) -> float:
    """τ of orders, fixed with the campaign's version: the effects that its prior believes in, or could be detected.

    Parameters
    ----------
    uplift, uplift_sd : float
        The prior of the effect, whose root mean square is the least that τ is.
    detectable : float or None
        The smallest effect that the hold-out can detect: a smaller τ would look for what cannot be seen.
    """
    return max(sqrt(uplift**2 + uplift_sd**2), detectable or 0.0)
