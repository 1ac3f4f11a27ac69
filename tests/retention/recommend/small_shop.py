"""Build small shops from a few events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from retention.db import Database
from retention.lake import Lake
from retention.lake.importing import import_files
from retention.settings import Settings
from tests.databases import create_tables

Line = tuple[
    str, str, datetime, str | None, dict[str, Any]
]  # customer, type, moment, item, the rest


@dataclass(frozen=True)
class SmallShop:
    """Hold the settings, database and lake of a small shop."""

    settings: Settings
    database: Database
    lake: Lake

    def add(self, lines: Sequence[Line]) -> None:
        """Import further events."""
        frame = pd.DataFrame(
            [
                {
                    "customer_id": customer,
                    "event_type": kind,
                    "occurred_at": at,
                    "item_id": item,
                    **rest,
                }
                for customer, kind, at, item, rest in lines
            ]
        )
        for name in ("item_id", "order_id", "query"):
            if name in frame:
                frame[name] = frame[name].astype("object").where(frame[name].notna(), None)
        self._bring("events", frame)

    def _bring(self, table: str, frame: pd.DataFrame) -> None:
        file = (
            self.settings.home
            / f"{table}-{len(list(self.settings.home.glob('*.parquet')))}.parquet"
        )
        frame.to_parquet(file)
        import_files(self.lake, self.database, self.settings, table, [str(file)])


def make_shop(
    home: Path, lines: Sequence[Line], items: Sequence[tuple[str, str, str, float]], **options: Any
) -> SmallShop:
    """Build a shop from events and items (id, title, category, price).

    ``options`` are further settings.
    """
    settings = Settings(home=home / "home", _env_file=None, **options)
    database = Database(settings.database_url.get_secret_value())
    create_tables(database)
    settings.home.mkdir(parents=True, exist_ok=True)
    shop = SmallShop(settings, database, Lake.open(settings))
    if items:
        shop._bring("items", pd.DataFrame(items, columns=["item_id", "title", "category", "price"]))
    shop.add(lines)
    return shop


def import_relations(shop: Any, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Import relations between customers."""
    file = shop.settings.home / "relations.csv"
    pd.DataFrame(rows, columns=["customer_id", "other_id", "kind", "occurred_at"]).to_csv(
        file, index=False
    )
    report = import_files(shop.lake, shop.database, shop.settings, "relations", [str(file)])
    assert report.rows_accepted == len(rows)
