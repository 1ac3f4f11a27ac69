"""Test whether unusually many customers of an audience lapsed last week.

A customer lapses when the silence since their last order reaches the churn horizon. Each week, the
customers at risk of that are those of the audience who were active when the week began. The share
of the newest week is compared with the weeks before it.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

ALPHA = 0.01  # chance of a false alarm in a week
BASELINE_WEEKS = 12
MIN_LAPSES = 5  # fewer are never reported
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Rise:
    """Lapses of the newest week against the weeks before.

    ``expected`` is the number that the baseline's share gives. ``is_unusual``: more lapsed than
    chance explains.
    """

    week: datetime
    lapsed: int
    active: int
    expected: float
    p_value: float
    is_unusual: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the result with the start of the week as text."""
        return {**asdict(self), "week": self.week.isoformat()}


def week_starts(lake: "Lake", as_of: datetime, weeks: int) -> list[datetime]:
    """Return the starts of the newest complete weeks (Monday, shop's clock), oldest first.

    `lake`: knows the shop's time zone.
    `as_of`: weeks end at or before it.
    """
    local = lake.local(as_of)
    days = local.weekday()
    monday = local.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    return [monday - WEEK * number for number in range(weeks, 0, -1)]


def order_days(lake: "Lake", as_of: datetime) -> "pd.DataFrame":
    """Return ``customer_id, at`` (seconds since 1970) of all purchases before a moment."""
    events = lake.table("events", before=as_of)
    bought = events.filter(events.event_type == "purchase")
    at = bought.occurred_at.epoch_seconds().name("at")
    frame: pd.DataFrame = bought.select("customer_id", at).distinct().execute()
    return frame


def count_lapses(
    orders: "pd.DataFrame", start: datetime, horizon_days: int, customers: Any = None
) -> tuple[int, int]:
    """Count the customers who lapse in a week, and those active when it begins.

    `orders`: from `order_days`. Orders at or after the end of the week are not used.
    `horizon_days`: silence after which a customer has lapsed.
    """
    begin, horizon = start.timestamp(), horizon_days * 86_400
    end = (start + WEEK).timestamp()
    if customers is not None:
        orders = orders[orders["customer_id"].isin(customers)]
    last = orders[orders["at"] < begin].groupby("customer_id")["at"].max()
    last = last[last >= begin - horizon]
    week = orders[(orders["at"] >= begin) & (orders["at"] < end)]
    first_back = week.groupby("customer_id")["at"].min().reindex(last.index)
    due = last + horizon
    lapsed = (due < end) & ~(first_back < due)
    return int(lapsed.sum()), len(last)


def rise_test(lapsed: "np.ndarray", active: "np.ndarray") -> tuple[float, float]:
    """Return the expected lapses of the last week and the p-value of a rise.

    `lapsed`, `active`: counts, oldest first; the last week is tested.

    Notes
    -----
    The larger of two p-values: Fisher's exact test against all weeks before, and a t-test of the
    shares' arcsines with the variance of the weeks before. So neither small counts nor uneven weeks
    raise the false-alarm rate above `ALPHA`.
    """
    from scipy import stats

    x, n = np.asarray(lapsed, float), np.asarray(active, float)
    now, size, before, total = x[-1], n[-1], x[:-1].sum(), n[:-1].sum()
    usable = n[:-1] > 0
    if size == 0 or total == 0 or usable.sum() < 3:
        return 0.0, 1.0
    share = before / total
    expected = size * share
    exact = stats.hypergeom.sf(now - 1, size + total, now + before, size)
    sizes = n[:-1][usable]
    level = np.arcsin(np.sqrt((x[:-1][usable] + 0.375) / (sizes + 0.75)))  # Anscombe 1948
    newest = np.arcsin(np.sqrt((now + 0.375) / (size + 0.75)))
    variance = max(level.var(ddof=1), (1 / (4 * sizes)).mean())
    spread = sqrt(variance * (1 + 1 / len(level)))
    uneven = stats.t.sf((newest - level.mean()) / spread, len(level) - 1)
    return float(expected), float(max(exact, uneven))


def rise(counts: list[tuple[datetime, int, int]]) -> Rise:
    """Test the newest week.

    `counts`: weeks, oldest first.
    """
    start, lapsed, active = counts[-1]
    expected, p_value = rise_test(
        np.array([one[1] for one in counts]), np.array([one[2] for one in counts])
    )
    is_unusual = p_value <= ALPHA and lapsed >= MIN_LAPSES
    return Rise(start, lapsed, active, expected, p_value, is_unusual)
