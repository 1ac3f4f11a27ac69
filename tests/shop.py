"""A tiny shop with a known truth: who lapses, what they like, what they redeem.

It comes in through the importer. Three hundred customers buy at their own rhythm until some lapse
for good; each prefers one of six categories. Seeded: the same shop every time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from retention.db import Database
from retention.lake import Lake
from retention.settings import Settings
from tests.databases import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from retention.lake.importing.import_log import ImportReport

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
CATEGORIES = ("coffee", "tea", "bread", "cheese", "yoghurt", "soap")


@dataclass(frozen=True)
class Shop:
    """An installation with the tiny shop's data in it.

    Do not change it: every test of the session sees it.
    """

    settings: Settings
    database: Database
    lake: Lake
    begin: datetime
    end: datetime  # no event at or after this

    def __post_init__(self) -> None:
        object.__setattr__(self, "database", self.database.using(self.settings))


def build(
    home: Path,
    *,
    customers: int = 300,
    items: int = 60,
    days: int = 200,
    seed: int = 7,
    until: datetime | None = None,
    **options,
) -> Shop:
    """Make the shop below ``home``, without events from ``until`` on; ``options`` are settings."""
    settings = Settings(home=home, _env_file=None, **options)
    database = Database(settings.database_url.get_secret_value(), settings)
    create_tables(database)
    lake = Lake.open(settings)
    home.mkdir(parents=True, exist_ok=True)
    for table, frame in frames(customers=customers, items=items, days=days, seed=seed).items():
        if table == "events" and until is not None:
            frame = frame[frame.occurred_at < until]
        import_frame(lake, database, frame, table)
    return Shop(settings, database, lake, BEGIN, BEGIN + timedelta(days=days))


def add(shop: Shop, frame: "pd.DataFrame", table: str = "events") -> "ImportReport":
    """Import more rows and return the report."""
    return import_frame(shop.lake, shop.database, frame, table)


def import_frame(
    lake: Lake, database: Database, frame: "pd.DataFrame", table: str = "events", **options
) -> "ImportReport":
    """Import rows as from a file; ``options`` are those of `import_files`."""
    from retention.lake.importing.import_files import import_files

    with TemporaryDirectory() as folder:
        file = Path(folder) / "more.parquet"
        frame.to_parquet(file)
        return import_files(lake, database, database.settings, table, [str(file)], **options)


def purchases(at: datetime, customers: "Iterable[str]", amount: float = 50.0) -> "pd.DataFrame":
    """Each of the customers orders at a moment."""
    import pandas as pd

    people = list(customers)
    orders = [f"{at:%Y%m%d%H%M}-{customer}" for customer in people]
    rows = pd.DataFrame({"customer_id": people, "order_id": orders})
    return rows.assign(event_type="purchase", occurred_at=at, amount=amount, currency="EUR")


def frames(*, customers: int = 300, items: int = 60, days: int = 200, seed: int = 7) -> dict:
    """The shop's tables as data frames with canonical columns."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    price = np.round(rng.gamma(4.0, 3.0, items) + 1, 2)
    category = np.arange(items) % len(CATEGORIES)
    item_ids = np.array([f"i{number:03d}" for number in range(items)])
    gap = rng.gamma(3.0, 3.0, customers) + 2.0  # days between orders
    joined = rng.uniform(0, days * 0.6, customers)
    lapsed = np.where(
        rng.random(customers) < 0.4, joined + rng.exponential(days * 0.4, customers), np.inf
    )
    taste = rng.integers(0, len(CATEGORIES), customers)

    rows = []
    for customer in range(customers):
        at = joined[customer]
        order = 0
        while at < min(days, lapsed[customer]):
            coupon = rng.random() < 0.1
            for _ in range(int(rng.integers(1, 5))):
                liked = rng.random() < 0.7
                pool = np.flatnonzero(category == taste[customer]) if liked else np.arange(items)
                item = rng.choice(pool)
                quantity = int(rng.integers(1, 4))
                full = price[item] * quantity
                discount = round(full * 0.1, 2) if coupon else 0.0
                bought = (item, f"o{customer}-{order}", quantity, full - discount, discount)
                rows.append((customer, "purchase", at, *bought))
            if coupon:
                used = (None, f"o{customer}-{order}", None, None, None)
                rows.append((customer, "coupon_redeem", at, *used))
            at += rng.exponential(gap[customer]) + 0.1
            order += 1

    columns = ["customer", "event_type", "day", "item", "order_id", "quantity", "amount"]
    columns.append("discount")
    events = pd.DataFrame(rows, columns=columns)
    events["customer_id"] = [f"c{number:04d}" for number in events["customer"]]
    events["item_id"] = [
        None if pd.isna(number) else item_ids[int(number)] for number in events["item"]
    ]
    seconds = np.floor(events["day"] * 86_400)
    events["occurred_at"] = pd.Timestamp(BEGIN) + pd.to_timedelta(seconds, unit="s")
    events = events.assign(currency="EUR", channel="web", source="shop").drop(
        columns=["customer", "day", "item"]
    )
    titles = [f"{CATEGORIES[kind].title()} no. {place}" for place, kind in enumerate(category)]
    people = [f"c{number:04d}" for number in range(customers)]
    return {
        "items": pd.DataFrame(
            {
                "item_id": item_ids,
                "title": titles,
                "category": [CATEGORIES[kind] for kind in category],
                "brand": [f"brand {number % 4}" for number in range(items)],
                "price": price,
                "margin": 0.3,
                "in_stock": True,
            }
        ),
        "customers": pd.DataFrame(
            {
                "customer_id": people,
                "email": [f"{person}@example.com" for person in people],
                "name": [f"Customer {number}" for number in range(customers)],
                "created_at": pd.Timestamp(BEGIN)
                + pd.to_timedelta(np.floor(joined * 86_400), unit="s"),
                "marketing_consent": rng.random(customers) < 0.9,
            }
        ),
        "events": events,
    }


def merged(lake: Lake, *pairs: tuple[str, str]) -> None:
    """Somebody says of each pair of ids that they are one customer."""
    import pandas as pd

    from retention.lake.identity import links

    rows = pd.DataFrame([{"customer_id": min(pair), "same_as": max(pair)} for pair in pairs])
    told = rows.assign(
        method="person", state="accepted", probability=1.0, evidence=[{}] * len(rows)
    )
    with links.locked_log(lake) as log:
        links.add(lake, log, links.order_by_age(lake, told), "me")
