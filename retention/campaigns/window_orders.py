"""Convert scores, which are of a churn horizon, to the window in which a campaign is measured."""

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from retention.lake import Lake


def with_window(
    lake: "Lake", scores: "pd.DataFrame", as_of: datetime, horizon_days: int, window_days: int
) -> "pd.DataFrame":
    """Add the window's share of the horizon: of those who order, and of what one of them spends.

    Who orders often is likely to do so in the window, and spends a part of the horizon's sum. Who
    orders rarely may not, but then spends all of it. So the share of buyers is that of the purchase
    process, and the spend of all buyers is proportional to the time.
    """
    if window_days >= horizon_days or scores.empty:
        return scores
    from retention.churn.lost_margin import return_chance
    from retention.churn.population import buyers

    everyone = buyers(lake, as_of, horizon_days=horizon_days, active_within_days=None)
    soon, ever = (return_chance(everyone, days) for days in (window_days, horizon_days))
    time = window_days / horizon_days
    share = dict(zip(everyone.frame.customer_id, soon / ever.clip(1e-12), strict=True))
    chance = scores["customer_id"].map(share).astype(float).fillna(time).clip(time, 1)
    return scores.assign(window_chance=chance, window_spend=time / chance)


def orders_in_window(customers: "pd.DataFrame") -> "tuple[np.ndarray, np.ndarray]":
    """Return P(order without an offer) and the spend of who orders, (n,) each."""
    chance = 1 - customers["churn_probability"].to_numpy(float)
    spend = customers["expected_value"].fillna(0).clip(lower=0).to_numpy(float)
    if "window_chance" not in customers:
        return chance, spend
    return (
        chance * customers["window_chance"].to_numpy(float),
        spend * customers["window_spend"].to_numpy(float),
    )
