"""Whether the data covers the time that is asked about: two dates are looked at, before any work."""

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
    """Refuse a cutoff before the data begins or after it ends: what is not in it yet would count as not bought.

    Raises
    ------
    BadInput, TooLittleData
        Naming from when to when the data is.
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
    """Refuse a horizon after the cutoff that is not over in the data: there is nothing yet to compare with.

    Raises
    ------
    BadInput, TooLittleData
        Naming from when to when the data is, and the latest cutoff or the longest horizon that can be judged.
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
    """What is to be said of a look from this moment: the data may end long before it.

    Raises
    ------
    TooLittleData
        The data begins later.
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
    """What is to be said where a model looks from a moment before the end of what it has learned from."""
    if learned_until is None or learned_until <= moment:
        return ""
    return (
        f"The model in use has learned from what came until {lake.local(learned_until):%Y-%m-%d}, so it knows what {lake.local(moment):%Y-%m-%d} "
        "could not; `retention evaluate` judges without that."
    )


def nothing_yet() -> TooLittleData:
    """What is said of a lake without events."""
    return TooLittleData(
        gettext(
            "There are no events yet; import them with `retention import events FILE --map "
            "MAP.toml`."
        )
    )


def quiet(horizon_days: int) -> timedelta:
    """For so long a shop may sell nothing."""
    return timedelta(days=max(1.0, horizon_days / 10))


def _ends(lake: "Lake") -> tuple[datetime, datetime]:
    """When the data begins and ends, by the shop's clock."""
    known = until(lake)
    if known.oldest is None or known.newest is None:
        raise nothing_yet()
    return lake.local(known.oldest), lake.local(known.newest)


def _told(oldest: datetime, newest: datetime) -> str:
    return f"it goes from {oldest:%Y-%m-%d} to {newest:%Y-%m-%d}"
