"""Compute retention by monthly cohort.

It is the share of a month's new customers that buy again k months later.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pandas as pd

from retention.errors import TooLittleData
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake


SLOT = 900  # seconds


@dataclass(frozen=True, slots=True)
class MonthCohort:
    """New customers of a month and their retention.

    ``month`` is like ``2017-03``. ``retained`` holds the share with an order k months later, k = 0,
    1, 2 …
    """

    month: str
    customers: int
    retained: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Monthly cohorts; ``average`` weights each month's share by customers."""

    as_of: datetime
    cohorts: tuple[MonthCohort, ...]
    average: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the cohorts for ``--json``."""
        return asdict(self) | {"as_of": self.as_of.isoformat()}


def cohorts(
    lake: "Lake", as_of: datetime, months: int = 12, customers: Collection[str] | None = None
) -> Cohorts:
    """Compute the newest cohorts in the shop's calendar.

    There are at most ``months`` of them.

    Each cohort is followed for as many months. Unfinished months are left out, because they would
    look like a fall. The data's first month includes earlier customers, so it does not describe new
    ones.
    """
    events = lake.table("events", as_of)
    bought = events.filter(events.event_type == "purchase")
    # In every time zone, a month begins at the start of a slot.
    slot = (bought.occurred_at.epoch_seconds() // SLOT).name("slot")
    frame = bought.select("customer_id", slot).distinct().execute()
    if customers is not None:
        frame = frame[frame["customer_id"].isin(customers)]
    at = pd.to_datetime(frame["slot"] * SLOT, unit="s", utc=True).dt.tz_convert(lake.zone)
    # "As of 31 March" is the day's last microsecond: March is whole.
    local = (as_of + timedelta(microseconds=1)).astimezone(ZoneInfo(lake.zone))
    number = at.dt.year * 12 + at.dt.month - 1
    frame = pd.DataFrame({"customer_id": frame["customer_id"], "month": number}).drop_duplicates()
    frame = frame[frame["month"] < local.year * 12 + local.month - 1]
    if frame["month"].nunique() < 2:
        raise TooLittleData(
            gettext(
                "Cohorts need purchases in at least two whole months; there are fewer. Import "
                "more history, or look later."
            )
        )
    frame["first"] = frame.groupby("customer_id")["month"].transform("min")
    frame["later"] = frame["month"] - frame["first"]
    last = int(frame["month"].max())
    counts = frame.pivot_table(
        index="first", columns="later", values="customer_id", aggfunc="count", fill_value=0
    )
    # Not the last month, because the newest customers may be older.
    newest = int(counts.index.max())
    counts = counts[counts.index > newest - months].reindex(columns=range(months), fill_value=0)
    month_cohorts = tuple(
        MonthCohort(
            f"{first // 12}-{first % 12 + 1:02}",
            int(row.iloc[0]),
            tuple(round(float(share), 6) for share in row.iloc[: last - first + 1] / row.iloc[0]),
        )
        for first, row in counts.iterrows()
    )
    return Cohorts(as_of, month_cohorts, _average(month_cohorts))


def _average(month_cohorts: tuple[MonthCohort, ...]) -> tuple[float, ...]:
    longest = max(len(cohort.retained) for cohort in month_cohorts)
    means = []
    for later in range(longest):
        had = [cohort for cohort in month_cohorts if len(cohort.retained) > later]
        stayed = sum(cohort.retained[later] * cohort.customers for cohort in had)
        means.append(round(stayed / sum(cohort.customers for cohort in had), 6))
    return tuple(means)
