"""What a rating says, whatever the shop's scale: 1 to 5 stars, 1 to 10, per cent, or thumbs.

The scale is read off the ratings themselves, without the most extreme hundredth: one mistyped 50 makes no per cent of stars."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

import numpy as np

from retention.lake.watermark import until

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

ENDS = (5.0, 10.0, 100.0)
EXTREME = 0.01  # of the ratings at either end
MANY = 20  # ratings: who all gave 1, and no less, had a thumb to put up, and not the worst of five stars
UNRATED = 0.25  # purchases: a review without a rating


@dataclass(frozen=True, slots=True)
class Scale:
    """The worst rating and the best."""

    low: float = 1.0
    high: float = 5.0

    def weight(self, rating: Any) -> Any:
        """−1 for the worst, 1 for the best, 0 for the middle, and nothing beyond them; of a column or an expression."""
        return ((rating - (self.low + self.high) / 2) / ((self.high - self.low) / 2)).clip(
            -1.0, 1.0
        )


def scale(lake: "Lake", before: datetime) -> Scale:
    """The scale of the ratings that were known before a moment; of a lake that is asked again and again, as last found."""
    known = until(lake)
    if not known.before(before):
        return _read(lake, before)
    if known.state not in _KEPT:
        _KEPT.clear()
        _KEPT[known.state] = _read(lake, before)
    return _KEPT[known.state]


_KEPT: dict[tuple[Any, ...], Scale] = {}  # the last lake's


def _read(lake: "Lake", before: datetime) -> Scale:
    events = lake.table("events", before=before)
    rated = events.filter(events.event_type == "review", events.rating.notnull())
    counted = rated.group_by(rating=rated.rating.cast("float64")).aggregate(
        times=lambda rows: rows.count()
    )
    given: Any = counted.order_by("rating").execute()
    if given.empty:
        return Scale()
    share = given["times"].cumsum() / given["times"].sum()
    low, high = (
        float(given["rating"][int((share >= end).idxmax())]) for end in (EXTREME, 1 - EXTREME)
    )
    if high <= 1 and (
        given["rating"].iloc[0] < 1 or given["times"].sum() >= MANY
    ):  # thumbs, or shares of 1
        return Scale(min(low, 0.0), 1.0)
    return Scale(
        min(low, 0.0) if low < 1 else 1.0, next((end for end in ENDS if high <= end), high)
    )


DAY = 86_400
PURCHASE, CART, VIEW = "purchase", "cart", "view"

# A purchase is 1. A cart came to about half of one in weight on Taobao's data; the others are judgement. Carts and views
# are measured on a shop's own data where there is enough (`worth`). A return takes a purchase back; a review counts by its stars (`stars`).
WEIGHTS = {
    PURCHASE: 1.0,
    CART: 0.5,
    "coupon_redeem": 0.5,
    VIEW: 0.1,
    "search": 0.1,
    "email_click": 0.1,
    "return": -1.0,
}
HALF_LIVES = (14, 30, 90, 240)  # days


def day_of(moment: datetime) -> int:
    """Whole days since 1970, UTC."""
    return int(moment.timestamp() // DAY)


def shift_of(zone: str, at: datetime) -> int:
    """By how many seconds the shop's clock is ahead of UTC at a moment.

    A history seen from there counts all its days so: those that people are told are the shop's, and the newest ends at its
    midnight. Before the last change of the clocks what happened in the hour beside midnight is of the neighbouring day.
    """
    return int((at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()).total_seconds())


def days_at(moment: datetime, shift: int) -> float:
    """A moment in days since 1970, as a history of this `shift_of` counts them."""
    return (moment.timestamp() + shift) / DAY


def decayed(half_life: int) -> str:
    """The column that holds the preference faded with this half-life."""
    return f"decayed_{half_life}"


@dataclass(frozen=True, slots=True)
class History:
    """Lines ordered by customer, item and day; ``customer`` and ``item`` are positions in the sorted ids.

    Parameters
    ----------
    customers, items : ndarray of str
    customer, item : ndarray of int32, one a line
    day, known : ndarray of int32
        Days since 1970 on which it happened, and on which the shop knew of it; by the shop's own clock, as `shift` says.
    weight : ndarray of float64
        Σ of `WEIGHTS` on that day.
    bought, carts, views : ndarray of int32
        Events of that kind.
    units, paid : ndarray of float32
        Of the purchases.
    shift : int
        As `shift_of`.
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
        """The moment in days since 1970, as the history counts them."""
        return days_at(moment, self.shift)

    def moment(self, at: float) -> datetime:
        """The moment of which `at` is this."""
        return datetime.fromtimestamp(round(at * DAY - self.shift, 5), UTC)

    def where(self, chosen: np.ndarray) -> Self:
        """Some of the lines, in the same order, over the same ids."""
        lines: dict[str, Any] = {name: getattr(self, name)[chosen] for name in _LINES}
        return replace(self, **lines)

    def before(self, day: int) -> Self:
        """What had happened, and was known, before the midnight that begins this day."""
        return self.where((self.day < day) & (self.known < day))

    def of(self, rows: np.ndarray) -> Self:
        """The lines of these customers (positions)."""
        wanted = np.zeros(len(self.customers), dtype=bool)
        wanted[rows] = True
        return self.where(wanted[self.customer])

    def between(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Who bought what on days in ``[start, end)``, each pair once: customers and items, as positions."""
        chosen = (self.day >= start) & (self.day < end) & (self.bought > 0)
        both = np.unique(
            self.customer[chosen].astype(np.int64) * len(self.items) + self.item[chosen]
        )
        return np.divmod(both, max(len(self.items), 1))


_LINES = ("customer", "item", "day", "known", "weight", "bought", "carts", "views", "units", "paid")


def read(
    lake: "Lake",
    cutoff: datetime,
    customer_ids: Sequence[str] | None = None,
    *,
    since: datetime | None = None,
    shift: int | None = None,
) -> History:
    """Read what customers showed about items before the cutoff.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Nothing at or after it is seen, nor what was only known later.
    customer_ids : sequence of str, optional
        Only these customers; default all.
    since : datetime, optional
        Only events from here on.
    shift : int, optional
        Of the days; by default the shop's at the cutoff.
    """
    import ibis

    from retention.lake.lake import naive

    events = lake.table("events", before=cutoff, since=since)
    events = events.filter(
        events.item_id.notnull(),
        events.customer_id.notnull(),
        events.event_type.isin([*WEIGHTS, "review"]),
    )
    if since is not None:
        events = events.filter(events.occurred_at >= naive(since))
    if customer_ids is not None:
        events = events.filter(events.customer_id.isin(list(customer_ids)))
    stars = scale(lake, cutoff).weight(events.rating.cast("float64")).fill_null(UNRATED)
    weight = ibis.cases(
        *((events.event_type == kind, value) for kind, value in WEIGHTS.items()),
        else_=stars,
    )
    shift = shift_of(lake.zone, cutoff) if shift is None else shift
    happened = ((events.occurred_at.epoch_seconds() + shift) / DAY).floor().cast("int32")
    heard = ((events.available_at.epoch_seconds() + shift) / DAY).floor().cast("int32")
    events = events.mutate(
        score=weight, on_day=happened, known=ibis.greatest(happened, heard.fill_null(happened))
    )
    sold = events.event_type == PURCHASE
    daily = events.group_by("customer_id", "item_id", "on_day", "known").aggregate(
        weight=events.score.sum(),
        bought=sold.sum(),
        carts=(events.event_type == CART).sum(),
        views=(events.event_type == VIEW).sum(),
        units=events.quantity.sum(where=sold).fill_null(0),
        paid=events.amount.sum(where=sold).fill_null(0),
    )
    return _ordered(daily.to_pyarrow(), shift)


def _ordered(daily: Any, shift: int) -> History:
    """The lines in their order; two days of hearing about one day stay two lines."""
    customers, customer = _coded(daily["customer_id"])
    items, item = _coded(daily["item_id"])
    lines = {
        name: daily[source].to_numpy().astype(kind)
        for name, source, kind in (
            ("day", "on_day", np.int32),
            ("known", "known", np.int32),
            ("weight", "weight", np.float64),
            ("bought", "bought", np.int32),
            ("carts", "carts", np.int32),
            ("views", "views", np.int32),
            ("units", "units", np.float32),
            ("paid", "paid", np.float32),
        )
    }
    order = np.lexsort((lines["known"], lines["day"], item, customer))
    return History(
        customers,
        items,
        customer[order],
        item[order],
        **{name: line[order] for name, line in lines.items()},
        shift=shift,
    )


def _coded(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct ids, and the position of each value among them."""
    import pyarrow

    column = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    encoded = column.dictionary_encode()
    seen = np.array(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(seen) if len(seen) else np.empty(0, dtype=int)
    place = np.empty(len(seen), dtype=np.int32)
    place[order] = np.arange(len(seen), dtype=np.int32)
    return seen[order], place[encoded.indices.to_numpy()] if len(seen) else np.empty(
        0, dtype=np.int32
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """One line for each (customer, item) of a history, in their order, as seen from one moment. Ages in days.

    ``days`` counts distinct days of purchase; ``gap`` is the mean between them (missing below two), ``spread`` their
    standard deviation, ``newest_gap`` the last of them; ``last`` and ``first`` are the ages of the last and first
    purchase (missing without one), ``since`` the age of the last event of any kind.
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

    def frame(self, history: History) -> "DataFrame":
        """As people read it: see `preferences`."""
        import pandas as pd

        return pd.DataFrame(
            {
                "customer_id": pd.Series(history.customers[self.customer], dtype="str"),
                "item_id": pd.Series(history.items[self.item], dtype="str"),
                **{decayed(half_life): values for half_life, values in self.faded.items()},
                "purchase_days": self.days,
                "gap_days": self.gap,
                "days_since_purchase": self.last,
                "carts": self.carts,
                "views": self.views,
                "days_since": self.since,
            }
        )


def pairs(history: History, at: float) -> Pairs:
    """Totals by customer and item, seen from ``at`` (days since 1970, may be fractional)."""
    if not len(history.day):
        none: Any = np.empty(0)
        whole: Any = np.empty(0, dtype=np.int32)
        faded = dict.fromkeys(HALF_LIVES, none)
        return Pairs(whole, whole, faded, whole, none, none, none, none, none, whole, whole, none)
    begins = changes(history.customer, history.item)
    age = at - history.day
    bought = history.bought > 0
    inside = np.maximum.reduceat(np.where(bought, age, -np.inf), begins)
    first = np.where(np.isfinite(inside), inside, np.nan)
    inside = np.minimum.reduceat(np.where(bought, age, np.inf), begins)
    last = np.where(np.isfinite(inside), inside, np.nan)
    days, gap, spread, newest = _gaps(history, begins, bought)
    return Pairs(
        history.customer[begins],
        history.item[begins],
        {
            each: np.add.reduceat(history.weight * np.exp2(-age / each), begins)
            for each in HALF_LIVES
        },
        days,
        last,
        first,
        gap,
        spread,
        newest,
        np.add.reduceat(history.carts, begins),
        np.add.reduceat(history.views, begins),
        np.minimum.reduceat(age, begins),
    )


def newest(history: History, at: float, counts: np.ndarray) -> np.ndarray:
    """Of each pair as `pairs` gives them: the age of the last line that counts any of a kind of event; missing without one."""
    if not len(history.day):
        return np.empty(0)
    age = np.where(counts > 0, at - history.day, np.inf)
    found = np.minimum.reduceat(age, changes(history.customer, history.item))
    return np.where(np.isfinite(found), found, np.nan)


def changes(*columns: np.ndarray) -> np.ndarray:
    """Where a line differs from the one before in any column."""
    differs = np.zeros(len(columns[0]), dtype=bool)
    differs[:1] = True
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(differs)


def _gaps(
    history: History, begins: np.ndarray, bought: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct days of purchase, and mean, standard deviation and last of the days between them."""
    pair = np.repeat(np.arange(len(begins)), np.diff(np.r_[begins, len(bought)]))[bought]
    day = history.day[bought]
    fresh = changes(pair, day)
    pair, day = pair[fresh], day[fresh]
    count = np.bincount(pair, minlength=len(begins))
    between = np.flatnonzero(pair[1:] == pair[:-1]) + 1
    step = (day[between] - day[between - 1]).astype(np.float64)
    several = np.maximum(count - 1, 1)
    repeated = count > 1
    total = np.bincount(pair[between], weights=step, minlength=len(begins))
    squares = np.bincount(pair[between], weights=step**2, minlength=len(begins))
    gap = np.where(repeated, total / several, np.nan)
    spread = np.sqrt(np.maximum(squares / several - gap**2, 0))
    newest = np.full(len(begins), np.nan)
    newest[pair[between]] = step  # lines are in order of day: the last one stays
    return count.astype(np.int32), gap, spread, newest


__all__ = ["HALF_LIVES", "bought_between", "buyers", "decayed", "preferences"]


def preferences(
    lake: "Lake",
    cutoff: datetime,
    customer_ids: Sequence[str] | None = None,
    *,
    since: datetime | None = None,
) -> "DataFrame":
    """What customers showed about items before the cutoff.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Nothing at or after it is seen.
    customer_ids : sequence of str, optional
        Only these customers; default all.
    since : datetime, optional
        Only events from here on.

    Returns
    -------
    DataFrame
        One row for each (customer_id, item_id), ordered by them: ``decayed_14`` to ``decayed_240``
        (Σ weight · 2^(−age/half-life), ages in whole days), ``purchase_days`` (distinct days), ``gap_days`` (mean days between them,
        missing below two), ``days_since_purchase``, ``carts``, ``views``, ``days_since``.
    """
    history = read(lake, cutoff, customer_ids, since=since)
    return pairs(history, history.at(cutoff)).frame(history)


def bought_between(
    lake: "Lake", start: datetime, end: datetime, *, known_before: datetime | None = None
) -> "DataFrame":
    """Who bought what in ``[start, end)``: one row for each (customer_id, item_id), in their order.

    The truth of an evaluation, which may also count what was only heard of later; whoever learns from the window
    passes ``known_before``, so that nothing is seen that was not yet known then.
    """
    from retention.lake.lake import naive

    events = lake.table("events", before=known_before)
    window = events.filter(
        events.event_type == PURCHASE,
        events.item_id.notnull(),
        events.customer_id.notnull(),
        events.occurred_at >= naive(start),
        events.occurred_at < naive(end),
    )
    return (
        window.select("customer_id", "item_id")
        .distinct()
        .order_by("customer_id", "item_id")
        .to_pyarrow()
        .to_pandas()
    )


def buyers(lake: "Lake", at: datetime, within: timedelta | None = None) -> dict[str, int]:
    """How many customers bought each item before ``at`` (``within`` of it)."""
    from retention.lake.lake import naive

    events = lake.table("events", before=at)
    bought = events.filter(events.event_type == PURCHASE, events.item_id.notnull())
    if within is not None:
        bought = bought.filter(bought.occurred_at >= naive(at - within))
    counted = bought.group_by("item_id").aggregate(buyers=bought.customer_id.nunique()).execute()
    return dict(zip(counted["item_id"], counted["buyers"].astype(int), strict=True))
