"""Score customers outside the activity window by the purchase process of all buyers.

A churn model learns from active customers, so it knows nothing about these.
"""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retention.churn.lost_margin import list_columns, return_chance
from retention.churn.population import buyers, next_order
from retention.features.order_rhythm import order_rhythm
from retention.risk import rules
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake

LAPSED = "lapsed"  # their tier


def score_lapsed(
    lake: "Lake", at: datetime, active: Collection[str], window: Window
) -> "tuple[pd.DataFrame, rules.RuleEvidence]":
    """Score every buyer who is not among the ``active`` ones.

    The columns are those of `retention.churn.score`, the tier and ``order_days``. The expected
    value is the spend of a customer who returns. Reasons are left to the evidence.
    """
    horizon_days = window.horizon_days
    everyone = buyers(lake, at, Window(horizon_days, None))
    is_active = everyone.frame.customer_id.isin(active).to_numpy()
    away = everyone.rows(~is_active)
    chance = return_chance(away, horizon_days)
    columns = list_columns(away, chance, horizon_days)
    value = columns["return_value"] / np.maximum(chance, 1e-9)
    scores = pd.DataFrame(
        {
            "customer_id": away.frame.customer_id,
            "churn_probability": 1 - chance,
            "reasons": [[] for _ in range(len(chance))],
            "expected_value": value if away.spend is not None else np.zeros(len(chance)),
            "next_order_at": next_order(away),
            **columns,
            "tier": LAPSED,
            "order_days": away.frame.order_days,
        }
    )
    rank_days = order_rhythm(lake, at).rank_days(window.active_within_days)
    among = everyone.frame[is_active]
    silent, often, _ = rules.ranks(away.frame, among, rank_days)
    standings = rules.standings_among(away.frame, among)
    return scores, rules.RuleEvidence(away.frame, silent, often, standings, horizon_days)
