"""Publish all customers' scores and all audiences for other systems."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from workers.requests import PublishProfiles
from workers.tasks.interface import Context, Outcome

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

MAX_LISTS = 20_000  # customers with recommended items, the most at stake first
ITEMS = 5


def run(request: PublishProfiles, context: Context) -> Outcome:
    """Score everybody and find the members of every audience.

    Parameters
    ----------
    request : PublishProfiles
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts.
    """
    from retention.audiences import store
    from retention.audiences.evaluate import members
    from retention.audiences.scores import scores_at
    from retention.connect import profiles
    from retention.lake import Lake
    from retention.registry import champion
    from retention.risk import rules

    settings, database = context.settings, context.database
    lake = Lake.open(settings)
    as_of, scores = scores_at(lake, database, settings, None, context.progress)
    with database.reading() as session:
        row = champion(session, settings, "churn")
        found = {
            audience.name: members(
                lake, session, settings, store.expression_of(audience), as_of, scores
            ).customers
            for audience in store.saved(session, settings)
        }
    items = _recommended(lake, context, scores, as_of)
    snapshot = profiles.write_snapshot(
        database,
        settings,
        context.job_id,
        as_of,
        row.version if row else rules.VERSION,
        _rows(scores, items),
        found,
    )
    data = {
        "as_of": as_of.isoformat(),
        "customers": len(scores),
        "with_items": len(items),
        "audiences": {name: len(customers) for name, customers in found.items()},
    }
    return Outcome(data, apply=lambda session: profiles.complete(session, settings, snapshot))


def _rows(scores: "pd.DataFrame", items: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    import pandas as pd

    columns = ("customer_id", "churn_probability", "tier", "expected_value")
    has_time = "next_order_at" in scores
    times = pd.to_datetime(scores["next_order_at"], utc=True) if has_time else None
    for place, row in enumerate(scores[list(columns)].itertuples(index=False)):
        at = None if times is None or pd.isna(times.iloc[place]) else times.iloc[place]
        yield {
            "customer_id": str(row.customer_id),
            "churn_probability": float(row.churn_probability),
            "tier": str(row.tier),
            "expected_value": round(float(row.expected_value), 2),
            "next_order_at": at.to_pydatetime() if at is not None else None,
            "items": items.get(str(row.customer_id), []),
        }


def _recommended(
    lake: "Lake", context: Context, scores: "pd.DataFrame", as_of: Any
) -> dict[str, list[str]]:
    """Return the best items of the customers with most at stake."""
    from retention.registry.model_cache import open_recommender
    from retention.risk.policy import load_policy

    settings = context.settings
    at_stake = scores.churn_probability * scores.expected_value
    best = at_stake.sort_values(ascending=False, kind="stable").index[:MAX_LISTS]
    customers = scores.loc[best, "customer_id"].astype(str).tolist()
    if not customers:
        return {}
    with context.database.reading() as session:
        recommender = open_recommender(lake, session, settings, load_policy(settings))
    lists = recommender.lists(lake, customers, k=ITEMS, as_of=as_of, progress=context.progress)
    return {customer: [item.item_id for item in found] for customer, found in lists.items()}
