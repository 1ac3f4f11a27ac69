"""Three small shops with a known truth, unlike each other: stand-ins for the shops that will come.

A gift shop with a Christmas season, cancellations and lines without a customer; a CD shop with one
cohort; a small online grocer. Heterogeneous buyers (gamma rates) who stop at heterogeneous times.
Seeded: the same shop every time.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from retention.db import Database
from retention.lake import Lake
from retention.settings import Settings
from tests.databases import create_tables

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def gifts(customers: int = 2500, days: int = 730, seed: int = 11) -> pd.DataFrame:
    """Generate 24 months of a gift shop.

    From October to mid-December people buy three times as often; 3 % of the orders are returned.
    """
    rng = np.random.default_rng(seed)
    joined = np.where(rng.random(customers) < 0.45, 0, rng.uniform(0, days, customers))
    rate = rng.gamma(0.9, 1 / 110, customers)
    lapses = joined + rng.exponential(500, customers)
    return _events(rng, joined, lapses, rate, days, season=_christmas, returned=0.03)


def discs(customers: int = 6000, days: int = 545, seed: int = 12) -> pd.DataFrame:
    """Generate a CD shop in which most customers never come back (CDNOW's parameters).

    Everyone's first order falls into the first twelve weeks.
    """
    rng = np.random.default_rng(seed)
    joined = rng.uniform(0, 84, customers)
    rate = rng.gamma(0.55, 1 / (10.6 * 7), customers)
    leaves = rng.gamma(0.61, 1 / (11.7 * 7), customers)
    lapses = joined + rng.exponential(1 / np.maximum(leaves, 1e-9))
    return _events(rng, joined, lapses, rate, days)


def groceries(customers: int = 600, days: int = 425, seed: int = 13) -> pd.DataFrame:
    """Generate fourteen months of people who order every week or two, until they stop or pause."""
    rng = np.random.default_rng(seed)
    joined = np.where(
        rng.random(customers) < 0.4, rng.uniform(0, 14, customers), rng.uniform(0, days, customers)
    )
    rate = rng.gamma(2.0, 1 / 28, customers)
    lapses = joined + rng.exponential(330, customers)
    return _events(rng, joined, lapses, rate, days, shape=2.0)


def _christmas(day: np.ndarray) -> np.ndarray:
    """How much more is bought at a day of the year; 1 on average outside the season."""
    return 0.75 + 2.2 * np.exp(-0.5 * ((day % 365.25 - 318) / 24) ** 2)


def _events(
    rng, joined, lapses, rate, days, *, season=None, returned=0.0, shape=1.0
) -> pd.DataFrame:
    """Return order lines from the first order on.

    Gaps are gamma with ``shape``, in season-stretched time.
    """
    grid = np.arange(0, days + 1.0)
    clock = np.concatenate([[0], np.cumsum(season(grid[:-1]) if season else np.ones(days))])
    start, stop = np.interp(joined, grid, clock), np.interp(np.minimum(lapses, days), grid, clock)
    most = int(np.ceil(rate.max() * clock[-1] * 1.5)) + 20
    gaps = rng.gamma(shape, 1 / shape, (len(rate), most)) / rate[:, None]
    at = np.column_stack([start, start[:, None] + np.cumsum(gaps, axis=1)])
    alive = (at < stop[:, None]) | (np.arange(most + 1) == 0)
    who, which = np.nonzero(alive)
    when = np.interp(at[who, which], clock, grid) + rng.uniform(0, 0.02, len(who))
    order = pd.DataFrame({"customer": who, "day": when, "order": np.arange(len(who))})
    order = order[order.day < days]
    lines = order.loc[order.index.repeat(rng.integers(1, 4, len(order)))].reset_index(drop=True)
    lines["amount"] = np.round(rng.gamma(3.0, 6.0, len(lines)) + 1, 2)
    events = with_returns(rng, lines, returned, days)
    return imported(BEGIN, events, rng.integers(0, 40, len(events)))


def with_returns(
    rng: np.random.Generator, lines: pd.DataFrame, share: float, days: int
) -> pd.DataFrame:
    """Add the returns of a share of the order lines within twelve days."""
    lines = lines.assign(event_type="purchase")
    back = lines[rng.random(len(lines)) < share].assign(event_type="return")
    back = back.assign(day=back.day + rng.uniform(0.5, 12, len(back)), amount=-back.amount)
    return pd.concat([lines, back[back.day < days]], ignore_index=True)


def imported(begin: datetime, events: pd.DataFrame, items: Iterable[int]) -> pd.DataFrame:
    """Return events in the columns of an import."""
    seconds = pd.to_timedelta(np.floor(events.day * 86_400), unit="s")
    return pd.DataFrame(
        {
            "customer_id": [f"c{number:05d}" for number in events.customer],
            "event_type": events.event_type,
            "occurred_at": pd.Timestamp(begin) + seconds,
            "order_id": [f"o{number}" for number in events.order],
            "item_id": [f"i{number:02d}" for number in items],
            "quantity": 1,
            "amount": events.amount,
            "currency": "GBP",
            "source": "shop",
        }
    )


def lake(folder: Path, events: pd.DataFrame) -> Lake:
    """A lake below ``folder`` with these events in it and nothing else."""
    from retention.lake.importing.import_files import import_files

    settings = Settings(home=folder / "home", _env_file=None)
    database = Database(settings.database_url.get_secret_value(), settings)
    create_tables(database)
    made = Lake.open(settings)
    events.to_parquet(folder / "events.parquet")
    import_files(made, database, settings, "events", [str(folder / "events.parquet")])
    return made


def end(days: int) -> datetime:
    """The first moment after a shop's last event."""
    return BEGIN + timedelta(days=days)
