"""A shop with all event types, columns, missing values, channels and ties."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from retention.lake import Lake
from retention.lake.schema import EVENT_TYPES, TABLES
from retention.lake.storage import delta_store
from retention.window import Window

BEGIN = datetime(2024, 1, 10, tzinfo=UTC)
CUTOFF = datetime(2025, 6, 2, 15, 30, tzinfo=UTC)
WINDOW = Window(28, None)
_ORDERED = ("purchase", "return", "coupon_redeem")


def frames(seed: int = 3, customers: int = 40, rows: int = 4000) -> dict[str, pd.DataFrame]:
    """Return events, items, treatments and moods before `CUTOFF`."""
    rng = np.random.default_rng(seed)
    p = [0.2, 0.08, 0.08, 0.4, 0.04, 0.05, 0.05, 0.04, 0.04, 0.02]
    kind = rng.choice(EVENT_TYPES, rows, p=p)
    span = int((CUTOFF - BEGIN).total_seconds())
    customer = rng.integers(0, customers, rows)
    visit = rng.integers(0, rows // 3, rows)  # rows of one visit share customer, time and order
    at = np.random.default_rng(seed + 1).integers(0, span, rows)[visit]
    customer = customer[visit]
    is_unknown = rng.random(rows) < 0.06
    items = np.char.add("i", rng.zipf(1.6, rows).clip(1, 60).astype(str))
    item = np.where(is_unknown, None, items)
    money = np.where(rng.random(rows) < 0.05, np.nan, np.round(rng.gamma(2, 9, rows), 2))
    ordered = np.isin(kind, _ORDERED) & (rng.random(rows) < 0.9)
    pairs = zip(visit, ordered, strict=True)
    columns = {
        "event_id": [f"e{number}" for number in range(rows)],
        "customer_id": [f"c{number:02d}" for number in customer],
        "event_type": kind,
        "occurred_at": pd.Timestamp(BEGIN) + pd.to_timedelta(at, unit="s"),
        "item_id": item,
        "order_id": [f"o{number}" if has else None for number, has in pairs],
        "quantity": rng.integers(1, 5, rows).astype(float),
        "amount": np.where(
            kind == "return", -money, np.where(np.isin(kind, ["purchase"]), money, np.nan)
        ),
        "discount": np.where(rng.random(rows) < 0.3, np.round(money * 0.1, 2), 0.0),
        "duration_s": np.where(kind == "view", rng.gamma(2, 20, rows).round(), np.nan),
        "rating": np.where(kind == "review", rng.integers(1, 6, rows), np.nan),
        "channel": rng.choice(np.array(["Web", "app", "store", None], dtype=object), rows),
    }
    events = pd.DataFrame(columns)
    events.loc[events.customer_id == "c05", "channel"] = "store"  # a customer with one channel
    events = pd.concat(
        [events, event(event_type="cart", occurred_at=day(0.001), item_id="i2")["events"]]
    )
    tables = {"events": events, "items": _items(rng), "treatments": _treatments(rng, customers)}
    return tables | {"text_signals": _signals(rng, customers)}


def _signals(rng: np.random.Generator, customers: int, rows: int = 120) -> pd.DataFrame:
    ages = pd.to_timedelta(rng.integers(9, 7_776_000, rows), unit="s")
    columns = {
        "text_id": [f"t{number}" for number in range(rows)],
        "customer_id": [f"c{number:02d}" for number in rng.integers(0, customers // 2, rows)],
        "occurred_at": pd.Timestamp(CUTOFF) - ages,
        "mood": np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows).round(3)),
    }
    return pd.DataFrame(columns)


def _items(rng: np.random.Generator) -> pd.DataFrame:
    numbers = np.arange(1, 50)  # other items are not in the catalogue
    columns = {
        "item_id": [f"i{number}" for number in numbers],
        "category": np.where(
            numbers % 9 == 0, None, np.char.add("kind ", (numbers % 7).astype(str))
        ),
        "brand": rng.choice(np.array(["Private", "Acme", None], dtype=object), len(numbers)),
    }
    return pd.DataFrame(columns)


def _treatments(rng: np.random.Generator, customers: int) -> pd.DataFrame:
    who = rng.permutation(customers)[:25]
    columns = {
        "campaign_id": "spring",
        "customer_id": [f"c{number:02d}" for number in who],
        "arm": rng.choice(["treatment", "control"], len(who)),
        "sent_at": pd.Timestamp(CUTOFF) - pd.to_timedelta(rng.integers(1, 90, len(who)), unit="D"),
    }
    return pd.DataFrame(columns)


def lake(home: Path, tables: dict[str, pd.DataFrame], zone: str = "Europe/London") -> Lake:
    """Write these rows into Delta tables and open the lake."""
    root = home / "lake"
    add(root, tables)
    return Lake(root, home / "scratch", zone)


def add(root: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Append rows to the Delta tables below ``root``."""
    for name, frame in tables.items():
        table, rows = TABLES[name], delta_store.to_arrow(frame, TABLES[name])
        if table.partition:
            months = frame["occurred_at"].dt.strftime("%Y-%m")
            rows = rows.append_column(table.partition, pa.array(months, pa.string()))
        delta_store.append(root, table, rows)


def event(**values: object) -> dict[str, pd.DataFrame]:
    """Return one event (or several, from lists) for `add`."""
    rows = len(next((value for value in values.values() if isinstance(value, list)), [0]))
    defaults = {
        "event_id": [f"new {number}" for number in range(rows)],
        "customer_id": "c01",
        "event_type": "purchase",
    }
    frame = pd.DataFrame({**defaults, **values}, index=range(rows))
    frame["occurred_at"] = pd.to_datetime(frame["occurred_at"], utc=True)
    return {"events": frame}


def day(number: float) -> datetime:
    """Return the moment ``number`` days before the cutoff."""
    return CUTOFF - timedelta(days=number)
