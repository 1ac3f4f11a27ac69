"""Infer the rating scale of a shop's reviews."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.lake.coverage import time_range
from retention.lake.storage.delta_store import DataCache

if TYPE_CHECKING:
    from retention.lake import Lake

SCALE_MAXIMA = (5.0, 10.0, 100.0)
OUTLIER_SHARE = 0.01  # at either end
MIN_THUMBS = 20  # ratings; this many ratings of 1 are thumbs up, not the worst of five stars


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
