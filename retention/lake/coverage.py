"""Check that the data covers a requested time."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from retention.errors import BadInput, TooLittleData
from retention.lake.watermark import until
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

PARTS = (
    3  # of the data, one a horizon at the longest: to be judged by, and two before it to learn from
)


def learnable(lake: "Lake", cutoff: datetime, horizon_days: int) -> None:
    """Refuse a cutoff outside the data's time range.

    Days after the end of the data would count as days without orders.

    Parameters
    ----------
    lake : Lake
        Source of the events.
    cutoff : datetime
        Timezone-aware.
    horizon_days : int
        Prediction horizon in days.

    Raises
    ------
    BadInput, TooLittleData
        With the time range of the data.
    """
    oldest, newest = _ends(lake)
    if cutoff <= oldest:
        raise TooLittleData(
            gettext(
                "There are no events before {local:%Y-%m-%d}, for {told}; import older ones or "
                "choose a later cutoff."
            ).format(local=lake.local(cutoff), told=_told(oldest, newest))
        )
    if cutoff - newest > quiet(horizon_days):
        raise BadInput(
            gettext(
                "The data ends on {newest:%Y-%m-%d}, before the cutoff {local:%Y-%m-%d}: it "
                "would be learned that nobody has ordered since. Take {newest_2:%Y-%m-%d} or "
                "earlier as the cutoff."
            ).format(newest=newest, local=lake.local(cutoff), newest_2=newest + timedelta(days=1))
        )


def judgeable(lake: "Lake", cutoff: datetime, horizon_days: int) -> None:
    """Refuse a label window that the data does not cover yet.

    Parameters
    ----------
    lake : Lake
        Source of the events.
    cutoff : datetime
        Start of the label window, timezone-aware.
    horizon_days : int
        Length of the label window in days.

    Raises
    ------
    BadInput, TooLittleData
        With the time range of the data, and the latest cutoff or longest horizon that works.
    """
    oldest, newest = _ends(lake)
    if cutoff <= oldest:
        learnable(lake, cutoff, horizon_days)
    horizon, end = timedelta(days=horizon_days), newest + timedelta(days=1)
    if cutoff + horizon - newest <= quiet(horizon_days):
        return
    longest = (end - oldest).days // PARTS
    if horizon_days <= longest:
        remedy = f"take a --cutoff of {end - horizon:%Y-%m-%d} or earlier"
    elif longest:
        remedy = f"take a --horizon of at most {longest} days, so that two before it are left to learn from"
    else:
        remedy = "import a longer history"
    raise BadInput(
        gettext(
            "The {horizon_days} days after {local:%Y-%m-%d} are not over in the data, for "
            "{told}; {remedy}."
        ).format(
            horizon_days=horizon_days,
            local=lake.local(cutoff),
            told=_told(oldest, newest),
            remedy=remedy,
        )
    )


def seen(lake: "Lake", moment: datetime, horizon_days: int) -> str:
    """Return a note if the data ends long before a moment.

    Parameters
    ----------
    lake : Lake
        Source of the events.
    moment : datetime
        Requested ``--as-of``, timezone-aware.
    horizon_days : int
        Prediction horizon in days.

    Returns
    -------
    str
        One sentence, or empty.

    Raises
    ------
    TooLittleData
        If the data begins later.
    """
    oldest, newest = _ends(lake)
    if moment <= oldest:
        raise TooLittleData(
            gettext(
                "There are no events before {local:%Y-%m-%d}, for {told}; import older ones or "
                "choose a later --as-of."
            ).format(local=lake.local(moment), told=_told(oldest, newest))
        )
    if moment - newest <= quiet(horizon_days):
        return ""
    return (
        f"The data ends on {newest:%Y-%m-%d}, {(moment - newest).days:,} days before {lake.local(moment):%Y-%m-%d}: whoever has "
        "ordered since looks silent."
    )


def hindsight(lake: "Lake", moment: datetime, learned_until: datetime | None) -> str:
    """Return a note if a model was trained on later data.

    Parameters
    ----------
    lake : Lake
        Gives the shop's time zone.
    moment : datetime
        Requested ``--as-of``.
    learned_until : datetime, optional
        Cutoff of the model.

    Returns
    -------
    str
        One sentence, or empty.
    """
    if learned_until is None or learned_until <= moment:
        return ""
    return (
        f"The model in use has learned from what came until {lake.local(learned_until):%Y-%m-%d}, so it knows what {lake.local(moment):%Y-%m-%d} "
        "could not; `retention evaluate` judges without that."
    )


def nothing_yet() -> TooLittleData:
    """Return the error for a lake without events."""
    return TooLittleData(
        gettext(
            "There are no events yet; import them with `retention import events FILE --map "
            "MAP.toml`."
        )
    )


def quiet(horizon_days: int) -> timedelta:
    """Return the longest usual time without events."""
    return timedelta(days=max(1.0, horizon_days / 10))


def _ends(lake: "Lake") -> tuple[datetime, datetime]:
    """Return the first and last event time, shop time."""
    known = until(lake)
    if known.oldest is None or known.newest is None:
        raise nothing_yet()
    return lake.local(known.oldest), lake.local(known.newest)


def _told(oldest: datetime, newest: datetime) -> str:
    return f"it goes from {oldest:%Y-%m-%d} to {newest:%Y-%m-%d}"
