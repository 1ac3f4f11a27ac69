"""Take the customers to score, with their expected spend and next order.

`population` computes all features, for a model. `buyers` computes few, for rules. Of a large
population, `population_parts` keeps all features in a file without a name and reads a part at a
time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from retention.churn.model_features import purchase_history
from retention.churn.snapshots import (
    BUYER_FEATURES,
    Snapshot,
    buyers_frame,
    eligible,
    fit_purchases,
    fit_spend,
    take_snapshot,
    with_features,
)
from retention.errors import TooLittleData
from retention.features.build import FeatureTables, build
from retention.lake.storage.delta_store import DataCache
from retention.paths import create_private_folder
from retention.text import gettext
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_CACHED = 100_000  # customers of a kept snapshot, about 100 MB
MAX_CACHED_BUYERS = 1_000_000  # the same with few features
PART_ROWS = 65_536  # customers with all features in memory, about 65 MB
MAX_FORECAST_DAYS = 3650  # later orders count as missing


def _is_small(snapshot: Snapshot) -> bool:
    return len(snapshot.frame) <= MAX_CACHED


_SNAPSHOTS: DataCache[Snapshot] = DataCache(2, is_small=_is_small, all_tables=True)
_BUYERS: DataCache[Snapshot] = DataCache(2, is_small=lambda own: own.buyers <= MAX_CACHED_BUYERS)


def buyers(lake: "Lake", as_of: datetime, window: Window) -> Snapshot:
    """Take the customers to score by rules, with `BUYER_FEATURES` and without buying states.

    All buyers of the last moments are kept: a list needs the active ones and the lapsed ones.
    """

    def take() -> Snapshot:
        frame = buyers_frame(lake, as_of, window.horizon_days, BUYER_FEATURES)
        process, spend = fit_purchases(frame), fit_spend(frame)
        return Snapshot(as_of, frame, None, len(frame), process, None, spend)

    population = eligible(_BUYERS.get(lake, (as_of, window.horizon_days), take), (), window)
    _require_customers(population.frame, lake, as_of, window)
    return population


def buyers_with(fits: Snapshot, lake: FeatureTables, as_of: datetime, window: Window) -> Snapshot:
    """Take some customers to score by rules, with the models that were fitted on all buyers."""
    frame = buyers_frame(lake, as_of, window.horizon_days, BUYER_FEATURES)
    return eligible(replace(fits, cutoff=as_of, frame=frame), (), window)


def population(lake: "Lake", as_of: datetime, window: Window) -> Snapshot:
    """Take the snapshot of the customers to score.

    The last ones are kept until the data changes: a list, its customers' cards, the digest and the
    check of the model ask for the same moment.
    """

    def take() -> Snapshot:
        return take_snapshot(lake, as_of, window, labelled=False)

    snapshot = _SNAPSHOTS.get(lake, (as_of, window), take)
    _require_customers(snapshot.frame, lake, as_of, window)
    return snapshot


@dataclass(frozen=True, slots=True)
class PopulationParts:
    """The customers to score, in parts that fit into memory.

    `whole`: all of them, at least with `BUYER_FEATURES` and `DERIVED`.
    `read`: a part's number → its catalogue features; None if ``whole`` has them.
    `starts`: (parts + 1,) places of the parts' first customers, and the number of customers.
    """

    whole: Snapshot
    read: Callable[[int], pd.DataFrame] | None
    starts: np.ndarray

    @classmethod
    def of(cls, whole: Snapshot) -> "PopulationParts":
        """Return the parts of a snapshot with all features."""
        size = len(whole.frame)
        return cls(whole, None, np.array([*range(0, size, PART_ROWS), size]))

    def part(self, number: int) -> Snapshot:
        """Return the snapshot of one part."""
        own = self.whole.frame.iloc[slice(*self.starts[number : number + 2])]
        snapshot = replace(self.whole, frame=own.reset_index(drop=True))
        return snapshot if self.read is None else with_features(snapshot, self.read(number))

    def __iter__(self) -> Iterator[tuple[slice, Snapshot]]:
        """Yield the places and the snapshot of each part, in order."""
        for number in range(len(self.starts) - 1):
            yield slice(*map(int, self.starts[number : number + 2])), self.part(number)


def population_parts(lake: "Lake", as_of: datetime, window: Window) -> PopulationParts:
    """Take the customers to score, with the same numbers as `population`.

    A population of more than `MAX_CACHED` buyers is not held in memory with all features, except
    with Spark.
    """
    is_small = buyers(lake, as_of, Window(window.horizon_days, None)).buyers <= MAX_CACHED
    if is_small or lake.spark:
        return PopulationParts.of(population(lake, as_of, window))
    whole = take_snapshot(lake, as_of, window, labelled=False, names=BUYER_FEATURES)
    _require_customers(whole.frame, lake, as_of, window)
    # without a name it ends with the process, however that ends
    file = TemporaryFile(dir=create_private_folder(lake.scratch))  # noqa: SIM115 - read later
    features = build(lake, as_of, window).order_by("customer_id")
    # Ibis 12 cannot stream the batches of DuckDB 2
    batches = lake.duckdb.sql(str(features.compile())).to_arrow_reader(PART_ROWS)
    with pq.ParquetWriter(file, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=PART_ROWS)
    stored = pq.ParquetFile(file)
    sizes = [stored.metadata.row_group(n).num_rows for n in range(stored.num_row_groups)]
    return PopulationParts(
        whole, lambda number: stored.read_row_group(number).to_pandas(), np.cumsum([0, *sizes])
    )


def _require_customers(frame: pd.DataFrame, lake: "Lake", as_of: datetime, window: Window) -> None:
    if len(frame):
        return
    if window.active_within_days is None:
        sentence = gettext(
            "Nobody ever ordered before {day:%Y-%m-%d}; import newer events or choose an "
            "earlier --as-of."
        )
    else:
        sentence = gettext(
            "Nobody ordered in the {days} days before {day:%Y-%m-%d}; import newer events or "
            "choose an earlier --as-of."
        )
    raise TooLittleData(sentence.format(days=window.active_within_days, day=lake.local(as_of)))


def spend_per_order_day(customers: Snapshot) -> np.ndarray:
    """Return the expected spend per order day (Gamma-Gamma), (n,); 0 without amounts."""
    if customers.spend is None:
        return np.zeros(len(customers.frame))
    days = customers.frame.order_days.to_numpy(dtype=float)
    mean = np.maximum(customers.frame.spend_all.to_numpy(dtype=float) / days, 0)
    return customers.spend.expected(days, mean)


def expected_spend(snapshot: Snapshot, horizon_days: int) -> np.ndarray:
    """Return the expected spend in one horizon if customers stay, (n,)."""
    x, _, age = purchase_history(snapshot.frame)
    rate = snapshot.purchases.rate_if_alive(x, age)
    return np.maximum(rate * horizon_days * spend_per_order_day(snapshot), 0)


def next_order(snapshot: Snapshot) -> pd.Series:
    """Return the expected time of each next order (UTC).

    Missing if it is ten years away or more.
    """
    x, _, age = purchase_history(snapshot.frame)
    due = snapshot.frame.gap_median.to_numpy(
        dtype=float, na_value=np.nan
    ) - snapshot.frame.recency_days.to_numpy(dtype=float)
    wait = snapshot.purchases.wait_if_alive(x, age)
    days = np.where(
        np.isnan(due) | (due <= 0), np.where(wait < MAX_FORECAST_DAYS, wait, np.nan), due
    )
    return pd.Series(
        pd.Timestamp(snapshot.cutoff) + pd.to_timedelta(np.round(days * 86_400), unit="s")
    )
