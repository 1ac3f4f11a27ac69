"""Publish all customers' scores and all audiences for other systems."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from retention.audiences import store
from retention.audiences.evaluate import members
from retention.audiences.scores import scores_at
from retention.connect.platforms import profiles
from retention.lake import Lake
from retention.registry import champion
from retention.registry.model_cache import open_recommender
from retention.risk import rules
from retention.risk.policy import load_policy
from workers.job_requests import PublishProfiles
from workers.tasks.interface import Context, Outcome

MAX_LISTS = 20_000  # customers with recommended items, the most at stake first
ITEMS = 5


def run(request: PublishProfiles, context: Context) -> Outcome:
    """Score everybody and find the members of every audience."""
    settings, database = context.settings, context.database
    lake = Lake.open(settings)
    as_of, scores = scores_at(lake, database, None, context.progress)
    with database.reading() as session:
        row = champion(session, "churn")
        found = {
            audience.name: members(
                lake, session, store.expression_of(audience), as_of, scores
            ).customers
            for audience in store.saved(session)
        }
    items = _recommended(lake, context, scores, as_of)
    version, rows = row.version if row else rules.VERSION, _rows(scores, items)
    snapshot = profiles.write_snapshot(database, context.job_id, as_of, version, rows, found)
    data = {
        "as_of": as_of.isoformat(),
        "customers": len(scores),
        "with_items": len(items),
        "audiences": {name: len(customers) for name, customers in found.items()},
    }
    return Outcome(data, apply=lambda session: profiles.complete(session, snapshot))


def _rows(scores: "pd.DataFrame", items: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    times = scores["next_order_at"] if "next_order_at" in scores else [pd.NaT] * len(scores)
    columns = ["customer_id", "churn_probability", "tier", "expected_value"]
    rows = scores[columns].itertuples(index=False)
    for row, at in zip(rows, pd.to_datetime(times, utc=True), strict=True):
        yield {
            "customer_id": str(row.customer_id),
            "churn_probability": float(row.churn_probability),
            "tier": str(row.tier),
            "expected_value": round(float(row.expected_value), 2),
            "next_order_at": None if pd.isna(at) else at.to_pydatetime(),
            "items": items.get(str(row.customer_id), []),
        }


def _recommended(
    lake: "Lake", context: Context, scores: "pd.DataFrame", as_of: Any
) -> dict[str, list[str]]:
    """Return the best items of the customers with most at stake."""
    settings = context.settings
    at_stake = scores.churn_probability * scores.expected_value
    best = at_stake.sort_values(ascending=False, kind="stable").index[:MAX_LISTS]
    customers = scores.loc[best, "customer_id"].astype(str).tolist()
    if not customers:
        return {}
    with context.database.reading() as session:
        recommender = open_recommender(lake, session, load_policy(settings))
    lists = recommender.lists(lake, customers, k=ITEMS, as_of=as_of, progress=context.progress)
    return {customer: [item.item_id for item in found] for customer, found in lists.items()}
