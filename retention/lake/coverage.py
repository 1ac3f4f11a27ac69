"""Find the time range of the data; refuse or note times outside it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from retention import clock
from retention.errors import BadInput, TooLittleData
from retention.lake.schema import LINKS
from retention.lake.storage import delta_store
from retention.lake.storage.delta_store import DataCache
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.lake import Lake

REACTIONS = ("email_open", "email_click")  # the desk stores them itself: no sign of fresh data
MAX_FIRST_HISTORY = 90  # days before the oldest training snapshot; fewer for shorter horizons


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Time range of the lake's data, without opens and clicks of e-mails.

    ``last`` covers these, too, and ``available_at`` of events and ``evident_at`` of links.
    """

    oldest: datetime | None
    newest: datetime | None
    last: datetime | None

    def ends_before(self, moment: datetime) -> bool:
        """Return whether all data lies before a moment."""
        return self.last is None or self.last < moment


_RANGES: DataCache[TimeRange] = DataCache(8)


def time_range(lake: "Lake") -> TimeRange:
    """Return the time range of all customers, cached until the next commit."""
    return _RANGES.get(lake, None, lambda: _measure(lake.whole))


def newest_event(lake: "Lake", before: datetime | None = None) -> datetime | None:
    """Return the newest event time before a moment, without opens and clicks of e-mails.

    Only a moment before the end of the data needs a query.

    `before`: read only events before it, and known before it.
    """
    known = time_range(lake)
    if before is None or known.ends_before(before):
        return known.newest
    return _latest(without_reactions(lake.whole.table("events", before)))


def without_reactions(events: Any) -> Any:
    """Return the events that show how far the shop's data reaches."""
    return events.filter(~events.event_type.isin(REACTIONS))


def default_cutoff(lake: "Lake", now: datetime) -> datetime:
    """Return the cutoff that stays the same until the data or the day changes.

    It is the shop's midnight, or the second after the newest data of today. Each message of a day
    then shows the same figures, unless data comes in between.
    """
    midnight = datetime.combine(lake.local(now).date(), time(), lake.local(now).tzinfo)
    known = time_range(lake)
    last = known.last if known.ends_before(now) else _last(_ends_of(lake.table("events", now)))
    after = last and last.replace(microsecond=0) + timedelta(seconds=1)
    return min(now, max(midnight, after or midnight)).astimezone(UTC)


def newest_order(lake: "Lake", before: datetime) -> datetime | None:
    """Return the newest purchase time before a moment.

    `before`: read only events before it, and known before it.
    Returns: none without purchases.
    """
    events = lake.table("events", before)
    return _latest(events.filter(events.event_type == "purchase"))


def _latest(events: Any) -> datetime | None:
    latest = events.occurred_at.max().to_pyarrow().as_py()
    return None if latest is None else latest.replace(tzinfo=UTC)


def _measure(lake: "Lake") -> TimeRange:
    ends = _ends_of(lake.table("events"))
    links = delta_store.files(delta_store.open_table(lake.root, LINKS))
    evident = None
    if links:  # none either where an erasure deleted the only one
        evident = lake.duckdb.execute(
            "SELECT make_timestamp(max(epoch_us(evident_at))) "  # noqa: S608
            f"FROM read_parquet({links!r})"
        ).fetchall()[0][0]
    oldest, newest = (
        moment and moment.replace(tzinfo=UTC) for moment in (ends["oldest"], ends["newest"])
    )
    return TimeRange(oldest, newest, _last(ends, evident))


def _ends_of(events: Any) -> dict[str, datetime | None]:
    """Return the ends of `TimeRange`, the last time of all events, and when it became known."""
    counts = ~events.event_type.isin(REACTIONS)
    ends = {
        "oldest": events.occurred_at.min(where=counts),
        "newest": events.occurred_at.max(where=counts),
        "happened": events.occurred_at.max(),
        "heard": events.available_at.max(),
    }
    return events.aggregate(**ends).to_pyarrow().to_pylist()[0]


def _last(ends: dict[str, datetime | None], *others: datetime | None) -> datetime | None:
    moments = (ends["happened"], ends["heard"], *others)
    return max((moment.replace(tzinfo=UTC) for moment in moments if moment), default=None)


def check_trainable(lake: "Lake", cutoff: datetime, horizon_days: int) -> None:
    """Refuse a cutoff outside the data's time range.

    Days after the end of the data would count as days without orders.
    """
    oldest, newest = _ends(lake)
    if cutoff <= oldest:
        raise TooLittleData(
            gettext(
                "There are no events before {local:%Y-%m-%d}, for {time_range}; "
                "import older ones or choose a later cutoff."
            ).format(local=lake.local(cutoff), time_range=_range_text(oldest, newest))
        )
    if cutoff - newest > silence_limit(horizon_days):
        message = gettext(
            "The data ends on {newest:%Y-%m-%d}, before the cutoff {local:%Y-%m-%d}: it "
            "would be learned that nobody has ordered since. Take {latest_cutoff:%Y-%m-%d} or "
            "earlier as the cutoff."
        ).format(newest=newest, local=lake.local(cutoff), latest_cutoff=newest + timedelta(days=1))
        raise BadInput(message)


def check_label_window(lake: "Lake", cutoff: datetime, horizon_days: int) -> None:
    """Refuse a label window beyond the data.

    `cutoff`: start of the label window, timezone-aware.
    """
    oldest, newest = _ends(lake)
    if cutoff <= oldest:
        check_trainable(lake, cutoff, horizon_days)
    horizon, end = timedelta(days=horizon_days), newest + timedelta(days=1)
    if cutoff + horizon - newest <= silence_limit(horizon_days):
        return
    longest = longest_horizon((end - oldest).days)
    if horizon_days <= longest:
        text = gettext("take a --cutoff of {latest:%Y-%m-%d} or earlier")
        remedy = text.format(latest=end - horizon)
    elif longest:
        remedy = gettext(
            "take a --horizon of at most {longest} days, so that enough is left before it to learn "
            "from"
        ).format(longest=longest)
    else:
        remedy = gettext("import a longer history")
    message = gettext(
        "The {horizon_days} days after {local:%Y-%m-%d} are not over in the data, for "
        "{time_range}; {remedy}."
    ).format(
        horizon_days=horizon_days,
        local=lake.local(cutoff),
        time_range=_range_text(oldest, newest),
        remedy=remedy,
    )
    raise BadInput(message)


def longest_horizon(history_days: int, windows: int = 2) -> int:
    """Return the longest horizon that a history has room for.

    It needs label windows, by default one to learn from and one to judge by, and before them some
    history for the features: another horizon, at most `MAX_FIRST_HISTORY`.

    Examples
    --------
    >>> longest_horizon(90), longest_horizon(820), longest_horizon(820, windows=1)
    (30, 365, 730)
    """
    short = history_days // (windows + 1)
    return short if short <= MAX_FIRST_HISTORY else (history_days - MAX_FIRST_HISTORY) // windows


def latest_cutoff(lake: "Lake", horizon_days: int) -> datetime:
    """Return the latest midnight in the shop's time with a complete label window.

    A window is complete when its last day is over and the data reaches that day.
    """
    now = clock.now()
    newest = newest_event(lake, now)
    if newest is None:
        raise no_events_error()
    local = lake.local(newest)
    today = datetime.combine(local.date(), time(), local.tzinfo)
    # Whole days of the shop's calendar, also when the clocks change.
    end = today + timedelta(days=1) if today + timedelta(days=1) <= now else today
    cutoff = (end - timedelta(days=horizon_days)).astimezone(UTC)
    oldest, _ = _ends(lake)
    if cutoff <= oldest:
        check_label_window(lake, oldest + timedelta(days=1), horizon_days)
    return cutoff


def training_cutoff(lake: "Lake", moment: datetime) -> datetime:
    """Return the latest cutoff to train at: a moment, but no later than the end of the data.

    A customer with missing data has not left.
    """
    newest = newest_event(lake, moment)
    return min(moment, newest + timedelta(days=1)) if newest else moment


def staleness_note(lake: "Lake", moment: datetime, horizon_days: int) -> str:
    """Return a note if the data ends long before a moment.

    `moment`: requested ``--as-of``, timezone-aware.
    Returns: one sentence, or empty.
    """
    oldest, newest = _ends(lake)
    if moment <= oldest:
        raise TooLittleData(
            gettext(
                "There are no events before {local:%Y-%m-%d}, for {time_range}; "
                "import older ones or choose a later --as-of."
            ).format(local=lake.local(moment), time_range=_range_text(oldest, newest))
        )
    if moment - newest <= silence_limit(horizon_days):
        return ""
    return gettext(
        "The data ends on {newest:%Y-%m-%d}, {days:,} days before {moment:%Y-%m-%d}: whoever has "
        "ordered since looks silent."
    ).format(newest=newest, days=(moment - newest).days, moment=lake.local(moment))


def hindsight_note(lake: "Lake", moment: datetime, model_cutoff: datetime | None) -> str:
    """Return a note if a model knows later data.

    `lake`: gives the shop's time zone.
    Returns: one sentence, or empty.
    """
    if model_cutoff is None or model_cutoff <= moment:
        return ""
    return gettext(
        "The model in use has learned from what came until {cutoff:%Y-%m-%d}, so it knows what "
        "{moment:%Y-%m-%d} could not; `retention evaluate` judges without that."
    ).format(cutoff=lake.local(model_cutoff), moment=lake.local(moment))


def no_events_error() -> TooLittleData:
    """Return the error for a lake without events."""
    return TooLittleData(
        gettext(
            "There are no events yet; import them with `retention import events FILE --map "
            "MAP.toml`."
        )
    )


def silence_limit(horizon_days: int) -> timedelta:
    """Return the longest usual time without events."""
    return timedelta(days=max(1.0, horizon_days / 10))


def _ends(lake: "Lake") -> tuple[datetime, datetime]:
    """Return the first and last event time, shop time."""
    known = time_range(lake)
    if known.oldest is None or known.newest is None:
        raise no_events_error()
    return lake.local(known.oldest), lake.local(known.newest)


def _range_text(oldest: datetime, newest: datetime) -> str:
    text = gettext("it goes from {oldest:%Y-%m-%d} to {newest:%Y-%m-%d}")
    return text.format(oldest=oldest, newest=newest)


WINDOW = timedelta(days=56)
MIN_DAYS = 14  # with orders, needed to know a channel's usual pauses


def late_channels(lake: "Lake", events: str, now: datetime) -> list[dict[str, Any]]:
    """Return the channels that are silent for longer than ever in the past eight weeks.

    `now`: business time. The day that it is in does not count, because its orders may come later.
    Returns: ``channel`` (None for orders without one), ``since`` (ISO date of the first day without
    orders) and ``days`` without orders; the longest first.
    """
    rows = lake.duckdb.execute(
        f'SELECT channel, occurred_at::DATE AS day FROM "{events}" '  # noqa: S608 - own name
        "WHERE event_type = 'purchase' AND occurred_at >= ? GROUP BY ALL ORDER BY ALL",
        [(now - WINDOW).replace(tzinfo=None)],
    ).fetchall()
    days: dict[str | None, list[date]] = {}
    for channel, day in rows:
        days.setdefault(channel or None, []).append(day)
    late = [
        {"channel": channel, "since": (seen[-1] + timedelta(days=1)).isoformat(), "days": silent}
        for channel, seen in days.items()
        if len(seen) >= MIN_DAYS
        and (silent := (now.date() - seen[-1]).days - 1) > _longest_pause(seen)
    ]
    return sorted(late, key=lambda one: -one["days"])


def _longest_pause(days: list[date]) -> int:
    """Return the most days without orders between two days with orders."""
    return max((later - earlier).days - 1 for earlier, later in pairwise(days))
