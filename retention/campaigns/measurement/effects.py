"""Measure treatment against hold-out, and compute power.

Difference of means, intention to treat, with Student's 95% interval after CUPED: Y* = Y − θ (X −
X̄), with X the same metric before the campaign and θ = cov(X, Y) / var(X) within the groups. CUPED
reduces the variance by ρ² without bias, because X does not depend on the group (Deng, Xu, Kohavi &
Walker 2013).

The variance is pooled. A small hold-out without large baskets has a small mean and a small
variance, and would show a false gain. Offers move few customers, so both groups vary alike. The
remaining skewness γ moves the quantiles z of a standard normal to z + γ (z² − 1) / 6 (Cornish &
Fisher 1938), with γ = κ₃ (1 / n² − 1 / m²) / SE³.
"""

from dataclasses import asdict, dataclass
from math import erfc, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from retention.campaigns.measurement.outcomes import Outcomes

MIN_BUYERS = 10  # per group; the mean of fewer is not close to normal
MAX_SKEWNESS = 2.0  # limit of the first-order correction, keeps the effect inside its interval
MIN_SEGMENT_SIZE = 20  # customers per group; fewer make a normal interval too narrow
MAX_SEGMENTS = 4  # per column; of many segments, one differs by chance
MISMATCH_P_VALUE = 0.001  # below this p-value, a sample-ratio mismatch
Z_ALPHA = NormalDist().inv_cdf(0.975)  # two-sided 5%
Z_POWER = NormalDist().inv_cdf(0.8)  # power 80%
Advice = Literal["repeat", "stop", "cheaper", "undecided", "unbelievable", "too_small"]


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect per treated customer and in total, with 95% intervals."""

    per_customer: float
    low: float
    high: float
    total: float
    total_low: float
    total_high: float
    treated_mean: float
    control_mean: float
    standard_error: float
    variance_cut: float  # share of the variance removed by CUPED


@dataclass(frozen=True, slots=True)
class Segment:
    """Effect on the share of buyers in one segment.

    None if a group has fewer than `MIN_SEGMENT_SIZE` customers or `MIN_BUYERS` buyers.
    """

    name: str
    treated: int
    control: int
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Sample-ratio check: group sizes against the planned share."""

    treated: int
    control: int
    planned_share: float
    p_value: float
    believable: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """Result of a campaign. ``effects`` is empty if a group has fewer than two customers."""

    effects: dict[str, Effect]
    segments: dict[str, tuple[Segment, ...]]  # by column, with at least two effects
    sample_ratio: SampleRatio
    cost: float
    redeemed: int
    cost_per_order: float | None  # the three are None if incremental orders are inconclusive
    cost_per_order_low: float | None
    cost_per_order_high: float | None
    advice: Advice

    def as_dict(self) -> dict[str, Any]:
        """Return the result as stored in ``Campaign.result``."""
        return asdict(self)


def measure(
    outcomes: "Outcomes",
    *,
    planned_share: float,
    metrics: tuple[str, ...],
    segmented: tuple[str, ...] = (),
) -> Measurement:
    """Measure a campaign.

    `metrics`: columns of ``outcomes.customers``, each with a ``pre_…`` twin. ``buyers``, ``orders``
    and ``profit`` decide.
    """
    table = outcomes.customers
    treated = table["arm"].to_numpy() == "treatment"
    ratio = sample_ratio(int(treated.sum()), int((~treated).sum()), planned_share)
    effects, segments = {}, {}
    if min(ratio.treated, ratio.control) > 1:
        effects = {name: _metric_effect(table, treated, name) for name in metrics}
        for column in (name for name in segmented if name in table):
            parts = _measure_segments(table, treated, column)
            if sum(part.effect is not None for part in parts) > 1:
                segments[column] = parts
    orders, enough = effects.get("orders"), has_enough_buyers(table, treated)
    per_order, low, high = (
        [outcomes.cost / number for number in (orders.total, orders.total_high, orders.total_low)]
        if orders is not None and orders.low > 0 and enough
        else [None] * 3
    )
    costs, advice = (outcomes.cost, outcomes.redeemed), advise(effects, ratio, enough)
    return Measurement(effects, segments, ratio, *costs, per_order, low, high, advice)


def difference(
    treated: "np.ndarray",
    control: "np.ndarray",
    treated_before: "np.ndarray",
    control_before: "np.ndarray",
) -> Effect:
    """Return the effect on one metric.

    `treated_before`: the same metric before the campaign.
    `control_before`: the same metric before the campaign.
    """
    import numpy as np
    from scipy import stats

    x, y = (
        np.concatenate([each - each.mean() for each in groups])
        for groups in ((treated_before, control_before), (treated, control))
    )
    covariate_variation, total_variation = float(x @ x), float(y @ y)
    theta = float(x @ y) / covariate_variation if covariate_variation > 0 else 0.0
    residuals = y - theta * x
    n, m = len(treated), len(control)
    error = sqrt(float(residuals @ residuals) / max(n + m - 2, 1) * (1 / n + 1 / m))
    before = float(treated_before.mean() - control_before.mean())
    point = float(treated.mean() - control.mean()) - theta * before
    skewness = float((residuals**3).mean()) * (1 / n**2 - 1 / m**2) / error**3 if error else 0.0
    quantile = float(stats.t.ppf(0.975, max(n + m - 2, 1)))
    limited = float(np.clip(skewness, -MAX_SKEWNESS, MAX_SKEWNESS))
    middle = point - limited * (quantile**2 - 1) / 6 * error
    low, high = middle - quantile * error, middle + quantile * error
    totals = n * point, n * low, n * high
    means = float(treated.mean()), float(control.mean())
    remaining = float(residuals @ residuals)
    variance_cut = 1 - remaining / total_variation if total_variation > 0 else 0.0
    return Effect(point, low, high, *totals, *means, error, variance_cut)


def sample_ratio(treated: int, control: int, planned_share: float) -> SampleRatio:
    """Test group sizes against the planned share.

    Chi-squared test with one degree of freedom.
    """
    total = treated + control
    expected = planned_share * total
    if not 0 < expected < total:
        return SampleRatio(treated, control, planned_share, 1.0, True)
    chi_squared = (treated - expected) ** 2 * (1 / expected + 1 / (total - expected))
    p_value = erfc(sqrt(chi_squared / 2))
    return SampleRatio(treated, control, planned_share, p_value, p_value >= MISMATCH_P_VALUE)


def has_enough_buyers(table: "pd.DataFrame", treated: "np.ndarray") -> bool:
    """Whether both groups have at least `MIN_BUYERS` buyers."""
    buyers = table["buyers"].to_numpy(float)
    return bool(min(buyers[treated].sum(), buyers[~treated].sum()) >= MIN_BUYERS)


def advise(effects: dict[str, Effect], ratio: SampleRatio, enough: bool = True) -> Advice:
    """Recommend the next step from the intervals."""
    if not ratio.believable:
        return "unbelievable"
    if not effects or not enough:
        return "too_small"
    if effects["profit"].low > 0:
        return "repeat"
    if effects["profit"].high < 0:
        return "cheaper" if effects["orders"].low > 0 else "stop"
    return "undecided"


def _measure_segments(
    table: "pd.DataFrame", treated: "np.ndarray", column: str
) -> tuple[Segment, ...]:
    """Effects in the `MAX_SEGMENTS` largest segments of a column."""
    segments = []
    for name in table[column].value_counts().index[:MAX_SEGMENTS]:
        is_member = (table[column] == name).to_numpy()
        sizes = int((is_member & treated).sum()), int((is_member & ~treated).sum())
        members = table[is_member], treated[is_member]
        is_measurable = min(sizes) >= MIN_SEGMENT_SIZE and has_enough_buyers(*members)
        effect = _metric_effect(*members, "buyers") if is_measurable else None
        segments.append(Segment(str(name), *sizes, effect))
    return tuple(segments)


def _metric_effect(table: "pd.DataFrame", treated: "np.ndarray", name: str) -> Effect:
    now, before = table[name].to_numpy(float), table[f"pre_{name}"].to_numpy(float)
    return difference(now[treated], now[~treated], before[treated], before[~treated])


def smallest_effect(rate: float, treated: int, control: int) -> float | None:
    """Return the smallest effect detected with 80% power.

    Two-sided test at 5%.

    `rate`: share of buyers without an offer, 0 to 1.
    Returns: difference of shares (0.03 is three customers in a hundred). None if a group is empty.
    """
    if treated < 1 or control < 1:
        return None
    return (Z_ALPHA + Z_POWER) * sqrt(rate * (1 - rate) * (1 / treated + 1 / control))
