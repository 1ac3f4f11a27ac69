"""Build small shops from a few events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from retention.db import Database
from retention.lake import Lake
from retention.recommend.history import History, pairs, read
from retention.settings import Settings
from tests.databases import create_tables
from tests.shop import import_frame

# customer, type, moment, item, the rest
Line = tuple[str, str, datetime, str | None, dict[str, Any]]


@dataclass(frozen=True)
class SmallShop:
    """Hold the settings, database and lake of a small shop."""

    settings: Settings
    database: Database
    lake: Lake

    def __post_init__(self) -> None:
        object.__setattr__(self, "database", self.database.using(self.settings))


def totals(history: History, at: float) -> pd.DataFrame:
    """Return what customers did with items before a moment, as a table."""
    seen = pairs(history, at)
    return pd.DataFrame(
        {
            "customer_id": pd.Series(history.customers[seen.customer], dtype="str"),
            "item_id": pd.Series(history.items[seen.item], dtype="str"),
            **{f"decayed_{half_life}": values for half_life, values in seen.faded.items()},
            "purchase_days": seen.days,
            "gap_days": seen.gap,
            "days_since_purchase": seen.last,
        }
    )


def preferences(
    lake: Lake, cutoff: datetime, customer_ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read `totals` from a lake."""
    history = read(lake, cutoff, customer_ids)
    return totals(history, history.at(cutoff))


def bring(shop: Any, table: str, frame: pd.DataFrame) -> None:
    """Import a table; all of its rows must be accepted."""
    report = import_frame(shop.lake, shop.database, frame, table)
    assert report.rows_accepted == len(frame)


def add_events(shop: Any, lines: Sequence[Line]) -> None:
    """Import events."""
    columns = ["customer_id", "event_type", "occurred_at", "item_id"]
    frame = pd.DataFrame([line[:4] for line in lines], columns=columns)
    rest = pd.DataFrame([line[4] for line in lines], index=frame.index)
    frame = frame.join(rest)
    for name in {"item_id", "order_id", "query"} & {*frame}:
        frame[name] = frame[name].astype("object").where(frame[name].notna(), None)
    bring(shop, "events", frame)


def make_shop(
    home: Path, lines: Sequence[Line], items: Sequence[tuple[str, str, str, float]], **options: Any
) -> SmallShop:
    """Build a shop from events and items (id, title, category, price).

    ``options`` are further settings.
    """
    settings = Settings(home=home / "home", _env_file=None, **options)
    database = Database(settings.database_url.get_secret_value(), settings)
    create_tables(database)
    settings.home.mkdir(parents=True, exist_ok=True)
    shop = SmallShop(settings, database, Lake.open(settings))
    if items:
        columns = ["item_id", "title", "category", "price"]
        bring(shop, "items", pd.DataFrame(items, columns=columns))
    if lines:
        add_events(shop, lines)
    return shop


def import_relations(shop: Any, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Import relations between customers."""
    columns = ["customer_id", "other_id", "kind", "occurred_at"]
    frame = pd.DataFrame([[*ids, at or None] for *ids, at in rows], columns=columns)
    bring(shop, "relations", frame)
