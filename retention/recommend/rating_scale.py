"""What a rating says, whatever the shop's scale: 1 to 5 stars, 1 to 10, per cent, or thumbs.

The scale is read off the ratings themselves, without the most extreme hundredth: one mistyped 50 makes no per cent of stars.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.lake.coverage import time_range

if TYPE_CHECKING:
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
    known = time_range(lake)
    if not known.ends_before(before):
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
