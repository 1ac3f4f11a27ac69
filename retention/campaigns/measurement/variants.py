"""Compare the variants of a campaign's message or offer, on any day, and name a winner.

Each day compares the treated customers who were drawn for each variant, by orders or profit so far.
The intervals of all days and all pairs of variants hold at once with 95%: their half-width is c
standard errors, and c is the 95% quantile of the largest |difference| / standard error over days
and pairs without an effect. The sums of a day's customers are close to normal and have independent
increments, so this quantile is that of Brownian motions at equal steps (Pocock 1977; Jennison &
Turnbull 1999, chapter 2). More information in the first days makes the days more alike, and the
intervals cover more.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.campaigns.lifecycle.copy_test import METRICS, Metric
from retention.campaigns.measurement.effects import MIN_BUYERS, difference
from retention.campaigns.measurement.sequential import ALPHA

if TYPE_CHECKING:
    import pandas as pd

    from retention.campaigns.measurement.outcomes import Outcomes

PATHS, CHUNK, SEED = 40_000, 2_000, 20  # of the quantile: its own error is about .01


@dataclass(frozen=True, slots=True)
class VariantFigures:
    """Customers drawn for a variant, and their orders and profit per customer so far.

    Delivered, opened and clicked e-mails stand beside them and never decide; None without tracking.
    """

    name: str
    customers: int
    buyers: int
    orders: float
    profit: float
    delivered: int | None = None
    opened: int | None = None
    clicked: int | None = None


@dataclass(frozen=True, slots=True)
class Contrast:
    """How much more than ``second`` a customer of ``first`` brought so far, with its interval."""

    first: str
    second: str
    metric: Metric
    per_customer: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The variants after ``day`` of ``days`` days.

    ``winner``: better than each other variant by ``metric``, beyond chance. None: there is none.
    ``has_enough``: whether each variant has enough buyers to be compared. ``is_even``: whether each
    customer had the same chance of each variant; else the figures alone compare other customers.
    """

    day: int
    days: int
    metric: Metric
    variants: tuple[VariantFigures, ...]
    contrasts: tuple[Contrast, ...]
    has_enough: bool
    winner: str | None
    is_even: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@cache
def critical_value(looks: int, variants: int) -> float:
    """Return c, the half-width of all intervals in standard errors."""
    rng, scale = np.random.default_rng(SEED), np.sqrt(2 * np.arange(1, looks + 1))
    largest = np.zeros(PATHS)
    for start in range(0, PATHS, CHUNK):  # of memory
        paths = rng.standard_normal((variants, CHUNK, looks)).cumsum(axis=2) / scale
        chunk = largest[start : start + CHUNK]
        for first, second in combinations(range(variants), 2):
            np.maximum(chunk, np.abs(paths[first] - paths[second]).max(axis=1), out=chunk)
    return float(np.quantile(largest, 1 - ALPHA))


def compare(
    outcomes: "Outcomes",
    variant_of: Mapping[str, str],
    *,
    day: int,
    days: int,
    metric: Metric,
    is_even: bool = True,
) -> Comparison:
    """Compare the variants after some days.

    `variant_of`: variant by customer id, of the customers who were drawn for one.
    `day`: days that are over, at most `days`; later rows are ignored.
    `days`: days of the test, fixed when it was approved. There is a look after each.
    """
    table = outcomes.customers
    drawn = table["customer_id"].map(variant_of)
    table, drawn = table[drawn.notna().to_numpy()], drawn.dropna().to_numpy(str)
    ids = table["customer_id"]
    totals = {
        "orders": _totals(outcomes.orders.assign(orders=1.0), "orders", ids, day),
        "profit": _totals(outcomes.profits, "profit", ids, day),
    }
    names = sorted(set(drawn))
    figures = tuple(_figures(name, drawn == name, totals) for name in names)
    has_enough = len(names) > 1 and min(each.buyers for each in figures) >= MIN_BUYERS
    contrasts: list[Contrast] = []
    if has_enough and is_even:
        width = critical_value(days, len(names))
        for name, (first, second) in product(METRICS, combinations(names, 2)):
            now, before = totals[name], table[f"pre_{name}"].to_numpy(float)
            one, other = drawn == first, drawn == second
            effect = difference(now[one], now[other], before[one], before[other])
            point, half = effect.per_customer, width * effect.standard_error
            contrasts.append(Contrast(first, second, name, point, point - half, point + half))
    winner = _winner(names, contrasts, metric)
    return Comparison(day, days, metric, figures, tuple(contrasts), has_enough, winner, is_even)


def _totals(rows: "pd.DataFrame", name: str, ids: "pd.Series", day: int) -> np.ndarray:
    """Sum a column per customer, until a day is over."""
    inside = rows[(rows["day"] >= 0) & (rows["day"] < day)]
    by_customer = inside.groupby("customer_id")[name].sum()
    return by_customer.reindex(ids.to_numpy(), fill_value=0.0).to_numpy(float)


def _figures(name: str, is_own: np.ndarray, totals: dict[str, np.ndarray]) -> VariantFigures:
    customers = int(is_own.sum())
    orders, profit = (totals[metric][is_own] for metric in METRICS)
    return VariantFigures(
        name, customers, int((orders > 0).sum()), float(orders.mean()), float(profit.mean())
    )


def _winner(names: list[str], contrasts: list[Contrast], metric: Metric) -> str | None:
    """Return the variant that is better than each other one."""
    better = {(one.first, one.second) for one in contrasts if one.metric == metric and one.low > 0}
    better |= {
        (one.second, one.first) for one in contrasts if one.metric == metric and one.high < 0
    }
    beaten = {name: {other for first, other in better if first == name} for name in names}
    return next((name for name in names if contrasts and len(beaten[name]) == len(names) - 1), None)
