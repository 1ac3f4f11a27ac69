"""Read and total customers' events with items.

Each line holds the events of a customer with an item on a day. The lines are arrays sorted by
customer, item and day. So the totals before any midnight are sums over neighbouring lines, and the
ranker's training windows need no further reading of the lake.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

import ibis
import numpy as np
import pyarrow

from retention.lake.coverage import time_range
from retention.lake.lake import naive
from retention.lake.storage.delta_store import DataCache

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

DAY = 86_400
PURCHASE, CART, VIEW = "purchase", "cart", "view"

# In purchases. On Taobao's data a cart was worth about half a purchase; the other weights are
# judgement. `event_weights` learns those of carts and views from the shop's own data if there is
# enough. A return cancels a purchase. A review counts by its rating (`rating_scale`).
WEIGHTS = {
    PURCHASE: 1.0,
    CART: 0.5,
    "coupon_redeem": 0.5,
    VIEW: 0.1,
    "search": 0.1,
    "email_click": 0.1,
    "return": -1.0,
}
UNRATED = 0.25  # weight in purchases of a review without a rating
HALF_LIVES = (14, 30, 90, 240)  # days
SCALE_MAXIMA = (5.0, 10.0, 100.0)
OUTLIER_SHARE = 0.01  # at either end
MIN_THUMBS = 20  # ratings; this many ratings of 1 are thumbs up, not the worst of five stars


def day_of(moment: datetime) -> int:
    """Return whole days since 1970, UTC."""
    return int(moment.timestamp() // DAY)


def shift_of(zone: str, at: datetime) -> int:
    """Return the shop's clock shift in seconds.

    The shift is how far the clock is ahead of UTC. A history read at that moment counts all its
    days with this shift. So the newest day ends at the shop's midnight. Before the last clock
    change, events in the hour around midnight belong to the neighbouring day.
    """
    return int((at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()).total_seconds())


def days_at(moment: datetime, shift: int) -> float:
    """Return a moment in days since 1970.

    `moment`: with a time zone.
    `shift`: seconds to add, see `shift_of`.
    """
    return (moment.timestamp() + shift) / DAY


@dataclass(frozen=True, slots=True)
class History:
    """Hold sorted event lines of customers and items.

    Lines are sorted by customer, item and day. ``customer`` and ``item`` are positions in the
    sorted ids.

    `day`, `known`: days since 1970 of the event, and of its arrival at the shop; in the shop's
    clock, see ``shift``.
    `shift`: seconds ahead of UTC, see `shift_of`.
    """

    customers: np.ndarray
    items: np.ndarray
    customer: np.ndarray
    item: np.ndarray
    day: np.ndarray
    known: np.ndarray
    weight: np.ndarray
    bought: np.ndarray
    carts: np.ndarray
    views: np.ndarray
    units: np.ndarray
    paid: np.ndarray
    shift: int = 0

    def at(self, moment: datetime) -> float:
        """Return a moment in days since 1970. Adds the history's clock shift."""
        return days_at(moment, self.shift)

    def moment(self, at: float) -> datetime:
        """Return the moment of a day number. Inverse of `at`."""
        return datetime.fromtimestamp(round(at * DAY - self.shift, 5), UTC)

    def where(self, lines: np.ndarray) -> Self:
        """Select lines by a mask or positions. Ids stay the same."""
        columns: dict[str, Any] = {name: getattr(self, name)[lines] for name in LINE_COLUMNS}
        return replace(self, **columns)

    def before(self, day: int) -> Self:
        """Select lines known before midnight of a day. Their events happened before it, too."""
        return self.where((self.day < day) & (self.known < day))

    def of(self, rows: np.ndarray) -> Self:
        """Select the lines of some customers, by position."""
        is_selected = np.zeros(len(self.customers), dtype=bool)
        is_selected[rows] = True
        return self.where(is_selected[self.customer])

    def between(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distinct purchases on days in ``[start, end)``.

        Customers and items are positions.
        """
        is_bought = (self.day >= start) & (self.day < end) & (self.bought > 0)
        customer = self.customer[is_bought].astype(np.int64)
        keys = np.unique(customer * len(self.items) + self.item[is_bought])
        return np.divmod(keys, max(len(self.items), 1))


LINE_COLUMNS = tuple(field.name for field in fields(History))[2:-1]  # one value per line


def read(
    lake: "Lake",
    cutoff: datetime,
    customer_ids: Sequence[str] | None = None,
    shift: int | None = None,
) -> History:
    """Read customers' events with items before a cutoff.

    `cutoff`: events at or after it, or known only later, are not read.
    `shift`: clock shift in seconds. Default: the shop's at the cutoff.
    """
    events = lake.table("events", before=cutoff)
    events = events.filter(
        events.item_id.notnull(),
        events.customer_id.notnull(),
        events.event_type.isin([*WEIGHTS, "review"]),
    )
    if customer_ids is not None:
        events = events.filter(events.customer_id.isin(list(customer_ids)))
    rated = rating_scale(lake, cutoff).weight(events.rating.cast("float64"))
    weight = ibis.cases(
        *((events.event_type == kind, value) for kind, value in WEIGHTS.items()),
        else_=rated.fill_null(UNRATED),
    )
    shift = shift_of(lake.zone, cutoff) if shift is None else shift
    event_day, known_day = (
        ((moment.epoch_seconds() + shift) / DAY).floor().cast("int32")
        for moment in (events.occurred_at, events.available_at)
    )
    known = ibis.greatest(event_day, known_day.fill_null(event_day))
    events = events.mutate(score=weight, on_day=event_day, known=known)
    is_purchase = events.event_type == PURCHASE
    daily = events.group_by("customer_id", "item_id", day="on_day", known="known").aggregate(
        weight=events.score.sum(),
        bought=is_purchase.sum(),
        carts=(events.event_type == CART).sum(),
        views=(events.event_type == VIEW).sum(),
        units=events.quantity.sum(where=is_purchase).fill_null(0),
        paid=events.amount.sum(where=is_purchase).fill_null(0),
    )
    return _ordered(daily.to_pyarrow(), shift)


def _ordered(daily: Any, shift: int) -> History:
    """Sort the lines. The same day known on two days stays two lines."""
    customers, customer = _coded(daily["customer_id"])
    items, item = _coded(daily["item_id"])
    kinds = {"weight": np.float64, "units": np.float32, "paid": np.float32}
    lines: dict[str, Any] = {"customer": customer, "item": item} | {
        name: daily[name].to_numpy().astype(kinds.get(name, np.int32)) for name in LINE_COLUMNS[2:]
    }
    order = np.lexsort((lines["known"], lines["day"], item, customer))
    return History(customers, items, **lines, shift=shift).where(order)


def _coded(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted ids and each value's position."""
    column = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    encoded = column.dictionary_encode()
    ids = np.array(encoded.dictionary.to_pylist(), dtype=object)
    if not len(ids):
        return ids, np.empty(0, dtype=np.int32)
    order = np.argsort(ids)
    place = np.empty(len(ids), dtype=np.int32)
    place[order] = np.arange(len(ids), dtype=np.int32)
    return ids[order], place[encoded.indices.to_numpy()]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Hold totals by customer and item at a moment.

    Lines are sorted. Ages are in days. ``days`` counts distinct purchase days. ``gap`` is their
    mean distance (NaN below two), ``spread`` the standard deviation of the distances and
    ``newest_gap`` the last one. ``last`` and ``first`` are the ages of the last and first purchase
    (NaN without one). ``since`` is the age of the last event of any kind.
    """

    customer: np.ndarray
    item: np.ndarray
    faded: dict[int, np.ndarray]
    days: np.ndarray
    last: np.ndarray
    first: np.ndarray
    gap: np.ndarray
    spread: np.ndarray
    newest_gap: np.ndarray
    carts: np.ndarray
    views: np.ndarray
    since: np.ndarray


def pairs(history: History, at: float) -> Pairs:
    """Total a history by customer and item.

    `at`: days since 1970; may be fractional.
    """
    if not len(history.day):
        no_floats: Any = np.empty(0)
        no_ints: Any = np.empty(0, dtype=np.int32)
        faded = dict.fromkeys(HALF_LIVES, no_floats)
        floats = (no_floats,) * 5  # last to newest_gap
        return Pairs(no_ints, no_ints, faded, no_ints, *floats, no_ints, no_ints, no_floats)
    begins = changes(history.customer, history.item)
    age = at - history.day
    is_bought = history.bought > 0
    ages = np.maximum.reduceat(np.where(is_bought, age, -np.inf), begins)
    days, gap, spread, newest = _gaps(history, begins, is_bought)
    return Pairs(
        history.customer[begins],
        history.item[begins],
        {
            each: np.add.reduceat(history.weight * np.exp2(-age / each), begins)
            for each in HALF_LIVES
        },
        days,
        last_event_age(history, at, history.bought),
        np.where(np.isfinite(ages), ages, np.nan),
        gap,
        spread,
        newest,
        np.add.reduceat(history.carts, begins),
        np.add.reduceat(history.views, begins),
        np.minimum.reduceat(age, begins),
    )


def last_event_age(history: History, at: float, counts: np.ndarray) -> np.ndarray:
    """Return each pair's age of its last event. NaN without an event of the kind."""
    if not len(history.day):
        return np.empty(0)
    age = np.where(counts > 0, at - history.day, np.inf)
    ages = np.minimum.reduceat(age, changes(history.customer, history.item))
    return np.where(np.isfinite(ages), ages, np.nan)


def changes(*columns: np.ndarray) -> np.ndarray:
    """Return positions of lines unlike the previous one. At least one column differs."""
    is_changed = np.zeros(len(columns[0]), dtype=bool)
    is_changed[:1] = True
    for column in columns:
        is_changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(is_changed)


def _gaps(
    history: History, begins: np.ndarray, is_bought: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compute purchase days and their distances.

    Returns the count, and mean, standard deviation and last of the distances.
    """
    pair = np.repeat(np.arange(len(begins)), np.diff(np.r_[begins, len(is_bought)]))[is_bought]
    day = history.day[is_bought]
    first_lines = changes(pair, day)
    pair, day = pair[first_lines], day[first_lines]
    count = np.bincount(pair, minlength=len(begins))
    repeats = np.flatnonzero(pair[1:] == pair[:-1]) + 1
    step = (day[repeats] - day[repeats - 1]).astype(np.float64)
    gap_count = np.maximum(count - 1, 1)
    has_gap = count > 1
    total = np.bincount(pair[repeats], weights=step, minlength=len(begins))
    squares = np.bincount(pair[repeats], weights=step**2, minlength=len(begins))
    gap = np.where(has_gap, total / gap_count, np.nan)
    spread = np.sqrt(np.maximum(squares / gap_count - gap**2, 0))
    newest = np.full(len(begins), np.nan)
    newest[pair[repeats]] = step  # lines are sorted by day: the last one stays
    return count.astype(np.int32), gap, spread, newest


def bought_between(lake: "Lake", start: datetime, end: datetime) -> "DataFrame":
    """Return the distinct purchases in a window, for an evaluation.

    Rows are (customer_id, item_id), sorted. The window is ``[start, end)``. Purchases known only
    later count, too.
    """
    events = lake.table("events")
    window = events.filter(
        events.event_type == PURCHASE,
        events.item_id.notnull(),
        events.customer_id.notnull(),
        events.occurred_at >= naive(start),
        events.occurred_at < naive(end),
    )
    pairs = window.select("customer_id", "item_id").distinct()
    return pairs.order_by("customer_id", "item_id").to_pyarrow().to_pandas()


def buyers(lake: "Lake", at: datetime, within: timedelta | None = None) -> dict[str, int]:
    """Count each item's buyers before a moment.

    `within`: count only purchases in this span before ``at``.
    """
    events = lake.table("events", before=at)
    purchases = events.filter(events.event_type == PURCHASE, events.item_id.notnull())
    if within is not None:
        purchases = purchases.filter(purchases.occurred_at >= naive(at - within))
    by_item = purchases.group_by("item_id")
    counts = by_item.aggregate(buyers=purchases.customer_id.nunique()).execute()
    return dict(zip(counts["item_id"], counts["buyers"].astype(int), strict=True))


@dataclass(frozen=True, slots=True)
class RatingScale:
    """Hold the ends of a rating scale."""

    low: float = 1.0
    high: float = 5.0

    def weight(self, rating: Any) -> Any:
        """Map ratings to −1 (worst) to 1 (best). Takes a column or an expression."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return ((rating - middle) / half).clip(-1.0, 1.0)


def rating_scale(lake: "Lake", before: datetime) -> RatingScale:
    """Infer the shop's rating scale.

    Only ratings known before the moment count. Knows 1–5 and 1–10 stars, percent and thumbs. The
    most extreme 1% of ratings at either end is ignored, so one mistyped 50 does not turn stars into
    percent. The scale is cached per lake state.
    """
    if not time_range(lake).ends_before(before):
        return _infer_scale(lake, before)
    return _SCALES.get(lake, None, lambda: _infer_scale(lake, before))


_SCALES: DataCache[RatingScale] = DataCache(1)


def _infer_scale(lake: "Lake", before: datetime) -> RatingScale:
    events = lake.table("events", before=before)
    rated = events.filter(events.event_type == "review", events.rating.notnull())
    by_rating = rated.group_by(rating=rated.rating.cast("float64"))
    counts = by_rating.aggregate(times=lambda rows: rows.count())
    ratings: Any = counts.order_by("rating").execute()
    if ratings.empty:
        return RatingScale()
    share = ratings["times"].cumsum() / ratings["times"].sum()
    low, high = (
        float(ratings["rating"][int((share >= end).idxmax())])
        for end in (OUTLIER_SHARE, 1 - OUTLIER_SHARE)
    )
    has_thumbs = ratings["rating"].iloc[0] < 1 or ratings["times"].sum() >= MIN_THUMBS
    if high <= 1 and has_thumbs:  # thumbs, or shares of 1
        return RatingScale(min(low, 0.0), 1.0)
    end = next((end for end in SCALE_MAXIMA if high <= end), high)
    return RatingScale(min(low, 0.0) if low < 1 else 1.0, end)
