"""What a rating says, whatever the shop's scale: 1 to 5 stars, 1 to 10, per cent, or thumbs.

The scale is read off the ratings themselves, without the most extreme hundredth: one mistyped 50 makes no per cent of stars.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.lake.until import until

if TYPE_CHECKING:
    from retention.lake import Lake

ENDS = (5.0, 10.0, 100.0)
EXTREME = 0.01  # of the ratings at either end
UNRATED = 0.25  # purchases: a review without a rating


@dataclass(frozen=True, slots=True)
class Scale:
    """The worst rating and the best."""

    low: float = 1.0
    high: float = 5.0

    def weight(self, rating: Any) -> Any:
        """−1 for the worst, 1 for the best, 0 for the middle; of a number, a column or an expression."""
        return (rating - (self.low + self.high) / 2) / ((self.high - self.low) / 2)


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
    counted = rated.group_by(rating=rated.rating.cast("float64")).aggregate(times=lambda rows: rows.count())
    given: Any = counted.order_by("rating").execute()
    if given.empty:
        return Scale()
    share = given["times"].cumsum() / given["times"].sum()
    low, high = (float(given["rating"][int((share >= end).idxmax())]) for end in (EXTREME, 1 - EXTREME))
    best = (
        1.0 if low < 1 and high <= 1 else next((end for end in ENDS if high <= end), high)
    )  # thumbs, or stars
    return Scale(min(low, 0.0) if low < 1 else 1.0, best)
