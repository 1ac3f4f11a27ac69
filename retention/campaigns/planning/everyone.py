"""Find every known customer with the chance that they order anyway, for campaigns of a kind.

A win-back campaign takes scored customers. The other kinds are for everyone, so customers without
an order need a chance, too: the share of earlier such customers who ordered within a window.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from retention.audiences.evaluate import customer_facts
from retention.campaigns.planning.targeting import with_window
from retention.db import Transaction
from retention.lake.lake import naive

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.risk.sweep import Sweep

PROSPECT = "prospect"  # the tier of customers without an order
JEFFREYS = 0.5  # prior buyers, and others: a share of no or all of them is never believed


def everyone(
    lake: "Lake", session: Transaction, swept: "Sweep", window_days: int
) -> "pd.DataFrame":
    """Return all customers known at the sweep's time: active, lapsed and prospects.

    Returns: the columns of the scores. Chances and spend are those of the campaign's window.
    """
    at, horizon = swept.as_of, swept.window.horizon_days
    buyers = pd.concat(
        [frame for frame in (swept.scores, swept.lapsed) if len(frame)] or [swept.scores]
    )
    buyers = swept.with_reasons(buyers.reset_index(drop=True))
    buyers = with_window(lake, buyers, at, horizon, window_days)
    known = customer_facts(lake, session, None, at).index
    ids = known[~known.isin(buyers["customer_id"])]
    if ids.empty:
        return buyers
    share, spend = first_orders(lake, session, at, window_days)
    prospects = pd.DataFrame(
        {
            "customer_id": ids,
            "churn_probability": 1 - share,
            "tier": PROSPECT,
            "reasons": "[]",
            "expected_value": spend,
            "list_rank": float("nan"),
        }
    )
    if "window_chance" in buyers:
        prospects = prospects.assign(window_chance=1.0, window_spend=1.0)
    return pd.concat([buyers, prospects], ignore_index=True)


def first_orders(
    lake: "Lake", session: Transaction, now: datetime, window_days: int
) -> tuple[float, float]:
    """Return how many prospects order first within a window, as a share, and what they spend.

    Of the newest window that is over: customers who were known at its start and had no order. A
    customer without a date is known from their first event on, so few of those are seen to order.
    """
    start = now - timedelta(days=window_days)
    events = lake.table("events", before=now)
    orders = events.filter(events.event_type == "purchase")
    first = orders.group_by("customer_id").aggregate(
        first=orders.occurred_at.min(),
        spent=orders.amount.sum(where=orders.occurred_at >= naive(start)),
    )
    table = first.execute().set_index("customer_id")
    known = customer_facts(lake, session, None, start).index
    prospects = known[~known.isin(table.index[table["first"] < naive(start)])]
    spent = table["spent"].astype(float).fillna(0)
    ordered = spent[spent.index.isin(prospects)]
    share = (len(ordered) + JEFFREYS) / (len(prospects) + 2 * JEFFREYS)
    usual = ordered if len(ordered) else spent[spent > 0]
    return share, float(usual.mean()) if len(usual) else 0.0
