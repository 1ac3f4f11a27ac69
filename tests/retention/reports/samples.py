"""Build small lakes whose reports are known."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from retention import clock
from retention.db import Database
from retention.lake import Lake
from retention.settings import Settings
from retention.window import Window
from tests import shop as tiny
from tests.world import add, campaign, model_version

UNTIL = datetime(2025, 6, 2, 9, tzinfo=UTC)


def bought(customer: str, *days: float, **more) -> list[dict]:
    """Return purchases this many days before ``UNTIL``."""
    return [
        {
            "customer_id": customer,
            "event_type": "purchase",
            "occurred_at": UNTIL - timedelta(days=day),
            "order_id": f"{customer}-{day}",
            "item_id": "i1",
            "amount": 10.0,
            "source": "till",
            **more,
        }
        for day in days
    ]


def event_importer(settings: Settings, database: Database) -> Callable[..., Lake]:
    """Return a function that imports lists of events and gives the lake."""
    lake = Lake.open(settings)

    def load(*groups: list[dict[str, Any]]) -> Lake:
        frame = pd.DataFrame([event for group in groups for event in group])
        tiny.import_frame(lake, database, frame)
        return lake

    return load


def lake_with_gap_and_spike(load: Callable[..., Lake]) -> Lake:
    """Import three customers with a gap of ten days, one day of many sales and one bad event."""
    days = [day for day in range(1, 120) if not 40 <= day < 50]
    numbered = enumerate("abc")
    lines = [bought(customer, *[day + hour / 24 for day in days]) for hour, customer in numbered]
    rush = bought("a", *[80 + step / 300 for step in range(1, 90)])
    no_customer = [{**bought("x", 5)[0], "customer_id": None}]
    return load(*lines, rush, no_customer)


def register_champion(shop: tiny.Shop) -> dict[str, Any]:
    """Register a champion that learned from a shop with higher prices; return its profiles."""
    from retention.churn.drift import profile
    from retention.churn.snapshots import take_snapshot

    cutoff = shop.end - timedelta(days=60)
    people = take_snapshot(shop.lake, cutoff, window=Window(28, 56), labelled=False)
    names = ("orders_all", "spend_1h")
    people.frame["spend_1h"] += 1000  # as if the prices had been higher
    profiles = {name: profile(people.matrix([name])[:, 0]) for name in names}
    row = model_version(
        shop.settings,
        "churn-test",
        state="champion",
        cutoff=cutoff,
        promoted_at=cutoff,
        metrics={"reference": {"features": profiles}},
    )
    add(shop.database, row)
    return profiles


def add_campaign(database: Database, campaign_id: str = "c1", **values: Any) -> None:
    """Store a campaign of yesterday."""
    row = {"id": campaign_id, "created_at": clock.now() - timedelta(days=1), **values}
    add(database, campaign(row.pop("name"), **row))


def add_measured_campaign(database: Database, campaign_id: str = "c1", **result: Any) -> None:
    """Store a closed campaign whose profit is likely between 10 and 250."""
    effect = {"total": 120.0, "total_low": 10.0, "total_high": 250.0}
    add_campaign(
        database,
        campaign_id,
        name="Autumn",
        state="closed",
        window_ends_at=clock.now() - timedelta(days=2),
        created_at=clock.now() - timedelta(days=40),
        result={"effects": {"profit": effect, "orders": effect}, **result},
    )
