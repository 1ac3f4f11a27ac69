"""Features from orders, such as recency, rhythm, spend and season."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from retention.features.visits import DAY, local_seconds

if TYPE_CHECKING:
    import ibis

YEAR = 365.25
WEEKEND = (2, 3)  # days since 1970-01-01, a Thursday, modulo 7
RECENT_GAPS, FEW_GAPS = 5, 2  # latest orders for the recent rhythm
HALF_LIVES = {"quarter": 0.25, "half": 0.5, "1h": 1.0, "2h": 2.0, "4h": 4.0}  # half-lives in H
QUARTERS = (1, 2, 3, 4, 5, 6)  # the last quarters of H, newest first
QUARTER_WINDOWS = {"1h": 4, "2h": 8, "3h": 12, "6h": 24}  # in quarters of H
_FULL_CIRCLE = 2 * math.pi
_PRIOR_GAPS = 0.1  # longer gaps among one added gap (smoothing)


def order_history(
    visits: "ibis.Table", changes: tuple[tuple[int, int], ...], now: int, horizon_days: int
) -> "ibis.Table":
    """Return all orders with the gap before each and the current silence.

    `visits`: as `retention.features.visits.visits` returns it.
    `changes`: changes of the local clock, see `clock_changes`.
    Returns: one row per order. Only the first order of a day has a gap, because a second basket on
    the same day is no rhythm. ``new_day`` is 1 for it and 0 for the others. ``new_quarter`` is 1
    for the first order of each quarter of H, counted back from the cutoff.

    Notes
    -----
    Quarters are computed in whole seconds: engines round fractions of days differently at the
    edges.
    """
    import ibis

    bought = visits.filter(visits.event_type == "purchase")
    order_by = [bought.second.desc(), bought.spend]
    newest_first = ibis.window(group_by="customer_id", order_by=order_by)
    ranked = bought.select(  # sorting copies columns: select few
        "customer_id",
        "second",
        "day",
        "age",
        "spend",
        "discount",
        "lines",
        before=bought.second.lead().over(newest_first),
        rank=ibis.row_number().over(newest_first),
        silence=bought.age.first().over(newest_first),
    )
    gap = ranked.day - ranked.before // DAY
    quarter = horizon_days * DAY // 4
    passed = (now - ranked.before) // quarter > (now - ranked.second) // quarter
    return ranked.mutate(
        gap=ibis.ifelse(gap > 0, gap, ibis.null("int64")).cast("float64"),
        new_day=(ranked.before.isnull() | (gap > 0)).cast("float64"),
        new_quarter=(ranked.before.isnull() | passed).cast("float64"),
        clock=local_seconds(ranked.second, changes),
    )


def timing_aggregates(v: "ibis.Table", h: float) -> "dict[str, ibis.Value]":
    """Aggregate order counts and gaps per customer.

    `v`: as `order_history` returns it.
    """

    def count(days: float) -> "ibis.Value":
        return (v.age <= days).cast("int64").sum().cast("float64")

    def decayed(column: "ibis.Value", half_life: float) -> "ibis.Value":
        return (column * (v.age * (-math.log(2) / half_life)).exp()).sum()

    beyond, long = v.gap - h, v.gap >= h
    paces = {f"paced_{name}": decayed(v.new_day, share * h) for name, share in HALF_LIVES.items()}
    spent = {f"spent_{name}": decayed(v.spend, share * h) for name, share in HALF_LIVES.items()}
    stretches = {
        f"order_days_{n}q": v.new_day.sum(
            where=(v.age > (n - 1) * h / 4) & (v.age <= n * h / 4)
        ).fill_null(0)
        for n in QUARTERS
    }
    windows = {
        f"quarters_{name}": v.new_quarter.sum(where=v.age < n * h / 4).fill_null(0)
        for name, n in QUARTER_WINDOWS.items()
    }
    return {
        "recency_days": v.age.min(),
        "tenure_days": v.age.max(),
        "orders_half": count(h / 2),
        "orders_1h": count(h),
        "orders_2h": count(2 * h),
        "orders_3h": count(3 * h),
        "orders_4h": count(4 * h),
        "orders_all": v.count().cast("float64"),
        **paces,
        **spent,
        **stretches,
        **windows,
        "order_days": v.gap.count().cast("float64") + 1,
        "gap_mean": v.gap.mean(),
        "gap_median": v.gap.median(),
        "gap_sd": v.gap.std(how="sample"),
        "gap_max": v.gap.max(),
        "gap_last": v.gap.argmin(v.age, where=v.gap.notnull()),
        "gap_recent": v.gap.mean(where=v["rank"] < RECENT_GAPS),
        "gap_last_two": v.gap.mean(where=v["rank"] < FEW_GAPS),
        "gap_log_mean": v.gap.ln().mean(),
        "gap_log_sd": v.gap.ln().std(how="sample"),
        "gaps_longer": (v.gap > v.silence).cast("float64").sum().fill_null(0),
        "gaps_longer_1h": (v.gap > v.silence + h).cast("float64").sum().fill_null(0),
        "days_silent": beyond.sum(where=beyond > 0).fill_null(0),
        "gaps_over_1h": long.cast("float64").sum().fill_null(0),
        "days_long": v.gap.sum(where=long).fill_null(0),
        "orders_last_year": count(YEAR) - count(YEAR - h),
        "season_match": ((v.age + h / 2) * (_FULL_CIRCLE / YEAR)).cos().mean(),
    }


def spend_aggregates(v: "ibis.Table", h: float) -> "dict[str, ibis.Value]":
    """Aggregate spend, discounts and order times per customer.

    `v`: as `order_history` returns it.
    """

    def total(column: "ibis.Value", days: float) -> "ibis.Value":
        return column.sum(where=v.age <= days).fill_null(0).cast("float64")

    day, turn = v.clock // DAY, v.clock * (_FULL_CIRCLE / DAY)
    weekdays = {
        f"weekday_{n}": (day % 7 == n).cast("int64").sum().cast("float64") for n in range(7)
    }
    return {
        "spend_1h": total(v.spend, h),
        "spend_2h": total(v.spend, 2 * h),
        "spend_4h": total(v.spend, 4 * h),
        "spend_all": v.spend.sum(),
        "spend_sd": v.spend.std(how="sample"),
        "spend_last": v.spend.sum(where=v["rank"] == 0),
        "lines_last": v.lines.sum(where=v["rank"] == 0).cast("float64"),
        "discount_4h": total(v.discount, 4 * h),
        "lines_4h": total(v.lines, 4 * h),
        "lines_1h": total(v.lines, h),
        "discounted_orders": ((v.discount > 0) & (v.age <= 4 * h))
        .cast("int64")
        .sum()
        .cast("float64"),
        "weekend_share": (day % 7).isin(WEEKEND).cast("float64").mean(),
        "hour_cos": turn.cos().mean(),
        "hour_sin": turn.sin().mean(),
        **weekdays,
    }


def ratio_features(h: float) -> "dict[str, Callable[[ibis.Table], ibis.Value]]":
    """Return the features computed from one row's aggregates.

    A division by zero gives a missing value.
    """
    import ibis

    def balance(now: "ibis.Value", before: "ibis.Value") -> "ibis.Value":
        return (now - before) / (now.abs() + before.abs() + 1)

    def pace(total: str, half_life: float) -> "Callable[[ibis.Table], ibis.Value]":
        """Rate per day, relative to the total weight of the customer's days."""
        slope = math.log(2) / half_life
        return lambda c: c[total] * slope / (1 - ((c.tenure_days + 1) * -slope).exp())

    def basket(c: "ibis.Table") -> "ibis.Value":
        return c.spend_all / c.orders_all

    def gaps(c: "ibis.Table") -> "ibis.Value":
        return (c.order_days - 1).nullif(0)

    def slope(c: "ibis.Table") -> "ibis.Value":
        first, second = c.orders_1h, c.orders_2h - c.orders_1h
        third, fourth = c.orders_3h - c.orders_2h, c.orders_4h - c.orders_3h
        return (3 * first + second - third - 3 * fourth) / 10

    def blank(c: "ibis.Table") -> "ibis.Value":
        quiet, observed = ibis.greatest(c.recency_days - h, 0), ibis.greatest(c.tenure_days - h, 0)
        return (c.days_silent + quiet + 0.5) / (observed + h)

    return {
        "recency_over_gap": lambda c: c.recency_days / c.gap_median,
        "recency_over_max_gap": lambda c: c.recency_days / c.gap_max,
        "recency_rank": lambda c: c.gaps_longer / gaps(c),
        "gap_survival": lambda c: (c.gaps_longer_1h + 0.5) / (c.gaps_longer + 1),
        **{f"pace_{name}": pace(f"paced_{name}", share * h) for name, share in HALF_LIVES.items()},
        **{
            f"spend_pace_{name}": pace(f"spent_{name}", share * h)
            for name, share in HALF_LIVES.items()
        },
        "silent_share": lambda c: c.days_silent / (c.tenure_days - c.recency_days).nullif(0),
        "silence_rank": lambda c: (c.gaps_longer + _PRIOR_GAPS) / (gaps(c).fill_null(0) + 1),
        "blank_share": blank,
        "long_gap_share": lambda c: c.days_long / (c.tenure_days + 1),
        "gap_cv": lambda c: c.gap_sd / c.gap_mean,
        "gap_trend": lambda c: c.gap_recent / c.gap_mean,
        "gap_last_ratio": lambda c: c.gap_last / c.gap_median,
        "orders_per_30d": lambda c: 30 * c.orders_all / (c.tenure_days + 1),
        "trend_orders": lambda c: balance(c.orders_1h, c.orders_2h - c.orders_1h),
        "trend_slope": slope,
        "trend_spend": lambda c: balance(c.spend_1h, c.spend_2h - c.spend_1h),
        "basket_mean": basket,
        "basket_ratio": lambda c: (c.spend_2h / c.orders_2h.nullif(0)) / basket(c).nullif(0),
        "basket_cv": lambda c: c.spend_sd / basket(c).nullif(0),
        "basket_last_ratio": lambda c: c.spend_last / basket(c).nullif(0),
        "discount_share": lambda c: (
            c.discount_4h / (c.spend_4h + c.discount_4h).nullif(0)
        ).fill_null(0),
        "discounted_share": lambda c: c.discounted_orders / c.orders_4h.nullif(0),
        "lines_per_order": lambda c: c.lines_4h / c.orders_4h.nullif(0),
        "lines_trend": lambda c: (
            (c.lines_1h / c.orders_1h.nullif(0)) / (c.lines_4h / c.orders_4h.nullif(0))
        ),
        "weekday_share": lambda c: (
            ibis.greatest(*(c[f"weekday_{n}"] for n in range(7))) / c.orders_all
        ),
        "hour_concentration": lambda c: (c.hour_cos * c.hour_cos + c.hour_sin * c.hour_sin).sqrt(),
        "orders_last_year": lambda c: ibis.ifelse(
            c.tenure_days >= YEAR - h, c.orders_last_year, ibis.null("float64")
        ),
    }
