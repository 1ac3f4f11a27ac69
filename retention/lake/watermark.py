"""Cache the time range of the lake's data."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from retention.lake import store
from retention.lake.schema import LINKS, TABLES

if TYPE_CHECKING:
    from retention.lake import Lake

MOST = 8  # states of lakes that are remembered
_KEPT: dict[tuple[Any, ...], "Until"] = {}


@dataclass(frozen=True, slots=True)
class Until:
    """Time range of the lake's data.

    ``last`` also covers ``available_at`` of events and ``evident_at`` of links.
    """

    oldest: datetime | None
    newest: datetime | None
    last: datetime | None
    state: tuple[Any, ...]  # of the lake, as `state` gives it

    def before(self, moment: datetime) -> bool:
        """Return whether all data lies before a moment."""
        return self.last is None or self.last < moment


def state(lake: "Lake") -> tuple[Any, ...]:
    """Return the path and newest commits of the lake."""
    return str(lake.root), *(store.mark(lake.root, table) for table in (TABLES["events"], LINKS))


def until(lake: "Lake") -> Until:
    """Return the time range, cached until the next commit."""
    key = state(lake)
    if key not in _KEPT:
        if len(_KEPT) >= MOST:
            _KEPT.clear()
        _KEPT[key] = _asked(lake, key)
    return _KEPT[key]


def newest(lake: "Lake", before: datetime | None = None) -> datetime | None:
    """Return the time of the newest event before a moment.

    Only an earlier moment needs a query.
    """
    known = until(lake)
    if before is None or known.before(before):
        return known.newest
    return _latest(lake.table("events", before))


def newest_order(lake: "Lake", before: datetime) -> datetime | None:
    """Return the time of the newest purchase before a moment."""
    events = lake.table("events", before)
    return _latest(events.filter(events.event_type == "purchase"))


def _latest(events: Any) -> datetime | None:
    found = events.occurred_at.max().to_pyarrow().as_py()
    return None if found is None else found.replace(tzinfo=UTC)


def _asked(lake: "Lake", key: tuple[Any, ...]) -> Until:
    events = lake.table("events")
    found = (
        events.aggregate(
            oldest=events.occurred_at.min(),
            newest=events.occurred_at.max(),
            heard=events.available_at.max(),
        )
        .to_pyarrow()
        .to_pylist()[0]
    )
    links = store.opened(lake.root, LINKS)
    moments = [found["newest"], found["heard"]]
    if links is not None:
        evident = lake.duckdb.execute(
            f"SELECT make_timestamp(max(epoch_us(evident_at))) FROM read_parquet({store.files(links)!r})"  # noqa: S608
        ).fetchall()
        moments.append(evident[0][0])
    known = [moment.replace(tzinfo=UTC) for moment in moments if moment is not None]
    oldest, newest = (found[end] and found[end].replace(tzinfo=UTC) for end in ("oldest", "newest"))
    return Until(oldest, newest, max(known, default=None), key)
