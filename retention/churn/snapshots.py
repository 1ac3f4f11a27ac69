"""Snapshots: the customers at a moment, what was known of them, and whether they then came back.

Intervals are half-open: features see ``occurred_at < cutoff``, the label is ``[cutoff, cutoff + horizon)``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from retention.churn import season as seasons
from retention.churn.model_features import (
    AS_IT_WAS,
    DERIVED,
    SEASON,
    by_bgnbd,
    by_states,
    purchase_history,
)
from retention.errors import BadInput, TooLittleData
from retention.features import NAMES, build, quarters
from retention.lake import coverage
from retention.lake.store import to_frame
from retention.progress import Progress, part, silent
from retention.text import gettext
from retention.value import bgnbd, gamma_gamma, hidden_markov

SEASON_FROM_DAYS = seasons.KNOWN_FROM
MOST_FIT, MOST_FIT_SEASONAL = 12, 24
MOST_ROWS = 250_000  # of all snapshots together; more teach little and take long
LEAST_HISTORY, MOST_STEP = 90, 30  # days before the oldest snapshot; between two
SHORTEST = 7  # days of a horizon that is worth proposing
FIT_SAMPLE = 20_000  # customers are enough for four parameters


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Eligible customers at ``cutoff``, ordered by id.

    ``frame`` holds customer_id, the features and `DERIVED`; ``churned`` (n,) 0 or 1, None where the future is not
    known, and ``waited`` (n,) the time until the next order in horizons, infinite for who had not come back after
    ``followed`` horizons (1 or 2). ``buyers`` counts everyone who ever ordered; ``purchases`` (BG/NBD, in days), ``buying``
    (states, in quarters of H) and ``spend`` (Gamma-Gamma of an order day; None where nobody spent, and with labels: learning
    has no use for it) are fitted on all of them.
    """

    cutoff: datetime
    frame: pd.DataFrame
    churned: np.ndarray | None
    buyers: int
    purchases: bgnbd.BgNbd
    buying: hidden_markov.BuyingStates
    spend: gamma_gamma.GammaGamma | None
    season: seasons.Season | None = None  # from thirteen months on
    waited: np.ndarray | None = None
    followed: float = 1.0

    @property
    def labels(self) -> np.ndarray:
        """(n,) 0 or 1; raises `ValueError` where the future is not known."""
        if self.churned is None:
            raise ValueError("this snapshot has no labels")
        return self.churned

    @property
    def hashed(self) -> np.ndarray:
        """(n,) a hash of each customer's id, uint64: what is drawn by it are the same customers at every moment."""
        ids = self.frame.customer_id.astype(str).to_numpy(dtype=object)
        return pd.util.hash_array(ids, categorize=False)

    def matrix(self, columns: Sequence[str], *, as_it_was: bool = False) -> np.ndarray:
        """(n, len(columns)) float64, missing as NaN; ``as_it_was`` gives the season that came, not the one foretold."""
        columns = [AS_IT_WAS.get(name, name) for name in columns] if as_it_was else columns
        return self.frame[list(columns)].to_numpy(dtype=float, na_value=np.nan)

    def rows(self, keep: np.ndarray) -> "Snapshot":
        """The same snapshot with some of its customers, by a boolean mask (n,)."""
        churned, waited = (
            None if one is None else one[keep] for one in (self.churned, self.waited)
        )
        return replace(
            self, frame=self.frame[keep].reset_index(drop=True), churned=churned, waited=waited
        )


def take(
    lake: Any,
    cutoff: datetime,
    *,
    horizon_days: int,
    active_within_days: int | None,
    labelled: bool = True,
    seasonal: bool | None = None,
    until: datetime | None = None,
) -> Snapshot:
    """The snapshot at one moment; ``labelled`` also looks at the horizon after it, and up to ``until`` at a second one.

    ``seasonal`` asks for the shop's clock; without it, where thirteen months have been seen.
    """
    everyone = build(lake, cutoff, horizon_days=horizon_days, active_within_days=None)
    frame = to_frame(everyone.order_by("customer_id"))
    x, t_x, age = purchase_history(frame)
    sample = slice(None, None, len(frame) // FIT_SAMPLE + 1)
    fitted = (
        bgnbd.fit(x[sample], t_x[sample], age[sample]) if len(frame) else bgnbd.BgNbd(1, 1, 1, 1)
    )
    drawn = frame.iloc[sample]
    when = 2 * np.pi * cutoff.timetuple().tm_yday / 365.25
    paced = quarters.counts(lake, cutoff, frame.customer_id, horizon_days=horizon_days)
    buying = hidden_markov.fit(*paced)
    frame = frame.assign(
        **by_bgnbd(fitted, frame, horizon_days),
        **by_states(buying, *paced),
        season_sin=np.sin(when),
        season_cos=np.cos(when),
    )
    trade = _trade(lake, cutoff, horizon_days if labelled else 0)
    season = None
    if len(frame) and (trade.known if seasonal is None else seasonal):
        season = seasons.learn(trade, horizon_days, fitted, x[sample], t_x[sample], age[sample])
    frame = frame.assign(**_seasonal(season, trade, fitted, frame, labelled))
    if active_within_days is not None:
        frame = frame[frame.recency_days <= active_within_days]
    churned = waited = None
    followed = 1.0
    if labelled:
        horizon = timedelta(days=horizon_days)
        waited = waits(lake, frame.customer_id, cutoff, cutoff + horizon) / horizon_days
        if until is not None and cutoff + 2 * horizon <= until:
            followed = 2.0
            later = waits(lake, frame.customer_id, cutoff, cutoff + 2 * horizon) / horizon_days
            # what was heard of the first horizon only after its end changes no label
            waited = np.where(np.isinf(waited), np.maximum(later, 1), waited)
        churned = (waited >= 1).astype(float)
    return Snapshot(
        cutoff,
        frame.reset_index(drop=True),
        churned,
        len(x),
        fitted,
        buying,
        None if labelled else _spend(drawn),
        season,
        waited,
        followed,
    )


def _seasonal(
    season: seasons.Season | None,
    trade: seasons.Trade,
    fitted: bgnbd.BgNbd,
    frame: pd.DataFrame,
    labelled: bool,
) -> dict[str, Any]:
    """The columns by the shop's clock: as foretold and, for learning, as it was; the plain ones without a clock."""
    if season is None:
        none = {"season_ahead": 0.0, "season_no_purchase": frame.bg_no_purchase}
        return none | {AS_IT_WAS[name]: value for name, value in none.items()}
    history = purchase_history(frame)
    told = {"season_ahead": season.faster, "season_no_purchase": season.no_purchase(*history)}
    if not labelled:
        return told
    ahead, faster = seasons.happened(trade, season, fitted)
    return told | {
        "season_now": faster,
        "season_no_purchase_now": season.no_purchase(*history, ahead),
    }


def _trade(lake: Any, cutoff: datetime, more_days: int) -> seasons.Trade:
    """First and repeat orders of each day (UTC) from the shop's first to the cutoff and so many days after it."""
    events = lake.table("events", before=cutoff + timedelta(days=more_days))
    bought = events.filter(events.event_type == "purchase")
    began = bought.group_by("customer_id").agg(day=bought.occurred_at.min().date())
    first = began.group_by("day").agg(customers=began.count()).execute()
    every = (
        bought.group_by(day=bought.occurred_at.date())
        .agg(customers=bought.customer_id.nunique())
        .execute()
    )
    if not len(every):
        return seasons.Trade(np.zeros(0), np.zeros(0), 0)
    end = pd.Timestamp(cutoff).tz_convert(None).normalize()
    start = pd.to_datetime(every.day).min()
    days = max((end - start).days, 0)
    counts = [
        np.bincount(
            (pd.to_datetime(one.day) - start).dt.days,
            weights=one.customers,
            minlength=days + more_days,
        )[: days + more_days]
        for one in (first, every)
    ]
    return seasons.Trade(counts[0], counts[1] - counts[0], days)


def _spend(frame: pd.DataFrame) -> gamma_gamma.GammaGamma | None:
    days = frame.order_days.to_numpy(dtype=float)
    mean = frame.spend_all.to_numpy(dtype=float) / np.maximum(days, 1)
    return gamma_gamma.fit(days, mean) if (mean > 0).any() else None


def waits(lake: Any, customers: pd.Series, since: datetime, until: datetime) -> np.ndarray:
    """Days from ``since`` to each customer's next purchase, (n,); infinite where none came before ``until``."""
    events = lake.table("events", before=until, since=since)
    bought = events.filter(events.event_type == "purchase")
    first = bought.group_by("customer_id").agg(at=bought.occurred_at.min()).execute()
    start = pd.Timestamp(since.astimezone(UTC).replace(tzinfo=None))
    at = pd.to_datetime(first.set_index("customer_id")["at"])
    days = (at.reindex(customers) - start) / pd.Timedelta(days=1)
    return days.fillna(np.inf).to_numpy(dtype=float)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What may be learned from before a cutoff: labelled snapshots, newest first, whose label windows are over."""

    cutoff: datetime
    horizon_days: int
    active_within_days: int | None
    history_days: float
    snapshots: tuple[Snapshot, ...]
    columns: tuple[str, ...]
    ahead: float = 0.0  # see `swing`
    settings: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # of estimators, beside their own
    doubted: Mapping[datetime, np.ndarray] = field(
        default_factory=dict
    )  # (n,) rows not to learn from, by moment
    fits: dict[Any, Any] = field(
        default_factory=dict, compare=False, repr=False
    )  # see retention.churn.rolling
    zone: str = "UTC"  # the shop's time zone (IANA)

    @property
    def newest(self) -> Snapshot:
        """The newest labelled snapshot."""
        return self.snapshots[0]

    def day(self, moment: datetime) -> str:
        """The day of a moment by the shop's clock, as people are told it."""
        return f"{moment.astimezone(ZoneInfo(self.zone)):%Y-%m-%d}"

    @property
    def season(self) -> bool:
        """Whether there is history enough to tell a season from a trend."""
        return self.history_days >= SEASON_FROM_DAYS

    @property
    def swing(self) -> float:
        """By how much faster repeat orders will come in the coming horizon than in the last, in logs; 0 where not known."""
        return self.ahead if self.season else 0.0

    def before(self, moment: datetime) -> tuple[Snapshot, ...]:
        """The snapshots whose label windows were over at ``moment``: what could have been learned from then."""
        horizon = timedelta(days=self.horizon_days)
        return tuple(snapshot for snapshot in self.snapshots if snapshot.cutoff + horizon <= moment)

    def as_of(self, moment: datetime) -> "TrainingSet | None":
        """This training set as it would have been at an earlier moment; None where nothing could be learned."""
        known = self.before(moment)
        days = self.history_days - (self.cutoff - moment) / timedelta(days=1)
        here = next((one for one in self.snapshots if one.cutoff == moment), None)
        ahead = 0.0 if here is None or here.frame.empty else float(here.frame.season_ahead.iloc[0])
        return (
            replace(self, cutoff=moment, history_days=days, snapshots=known, ahead=ahead)
            if known
            else None
        )

    def teaching(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Snapshots without the rows that are doubted; whoever is judged is never left out."""
        return [
            one.rows(~self.doubted[one.cutoff]) if one.cutoff in self.doubted else one
            for one in snapshots
        ]

    def stacked(self, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(n, k) features and (n,) labels of all snapshots."""
        return stacked(self.teaching(self.snapshots), columns)


def stacked(snapshots: Sequence[Snapshot], columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) features and (n,) labels of snapshots one after another, thinned out evenly above `MOST_ROWS`.

    Their label windows are over, so how the shop's trade went in them is known: the season is learned from that, while
    whoever predicts has only the year before.
    """
    step = _every(snapshots)
    return (
        np.concatenate(
            [snapshot.matrix(columns, as_it_was=True)[::step] for snapshot in snapshots]
        ),
        np.concatenate([snapshot.labels[::step] for snapshot in snapshots]),
    )


def waited(snapshots: Sequence[Snapshot]) -> np.ndarray | None:
    """(n,) how long until each customer of `stacked` came back, in horizons, as far as it was followed; None where it was not noted."""
    known = [snapshot.waited for snapshot in snapshots if snapshot.waited is not None]
    if len(known) < len(snapshots):
        return None
    step = _every(snapshots)
    return np.concatenate([one[::step] for one in known])


def followed(snapshots: Sequence[Snapshot], horizon_days: int) -> np.ndarray:
    """(n,) for how many horizons, 1 or 2, it is known when each customer of `stacked` came back.

    Two where they were over together with the newest label window: an origin in the past sees no more than was known then.
    """
    over = max(snapshot.cutoff for snapshot in snapshots) - timedelta(days=horizon_days)
    known = [2.0 if one.followed >= 2 and one.cutoff <= over else 1.0 for one in snapshots]
    step = _every(snapshots)
    return np.concatenate(
        [
            np.full(len(one.frame), number)[::step]
            for one, number in zip(snapshots, known, strict=True)
        ]
    )


def _every(snapshots: Sequence[Snapshot]) -> int:
    """Which rows are kept, so that they are not more than `MOST_ROWS`."""
    return -(-sum(len(snapshot.frame) for snapshot in snapshots) // MOST_ROWS) or 1


def history(
    lake: Any,
    *,
    cutoff: datetime,
    horizon_days: int,
    active_within_days: int | None,
    progress: Progress = silent,
) -> TrainingSet:
    """Rolling-origin snapshots whose label windows end at or before ``cutoff``; the newest is at ``cutoff − H``.

    Raises
    ------
    BadInput
        A horizon longer than the history carries.
    TooLittleData
        No events, or no customers.
    """
    coverage.check_trainable(lake, cutoff, horizon_days)
    first = lake.table("events", before=cutoff).occurred_at.min().execute()
    if first is None or first != first:  # they had happened, but were heard of later
        raise TooLittleData(
            gettext(
                "No events were known before {local:%Y-%m-%d}; import some or choose a later "
                "cutoff."
            ).format(local=lake.local(cutoff))
        )
    days = (cutoff - first.to_pydatetime().replace(tzinfo=UTC)) / timedelta(days=1)
    moments = origins(cutoff, days, horizon_days)
    taken = []
    for number, moment in enumerate(moments):
        inner = part(progress, number, len(moments))
        inner(0, 1, f"Features as of {lake.local(moment):%d %b %Y}")
        taken.append(
            take(
                lake,
                moment,
                horizon_days=horizon_days,
                active_within_days=active_within_days,
                seasonal=days >= SEASON_FROM_DAYS,
                until=cutoff,
            )
        )
    taken = [snapshot for snapshot in taken if len(snapshot.frame)]
    if not taken:
        raise TooLittleData(_nobody(lake.local(cutoff), active_within_days))
    names = (
        *NAMES,
        *(one.name for one in DERIVED if days >= SEASON_FROM_DAYS or one.name not in SEASON),
    )
    ahead = seasons.swing(_trade(lake, cutoff, 0), horizon_days, taken[0].purchases)
    return TrainingSet(
        cutoff,
        horizon_days,
        active_within_days,
        days,
        tuple(taken),
        _telling(taken, names),
        ahead,
        zone=lake.zone,
    )


def _telling(taken: Sequence[Snapshot], names: Sequence[str]) -> tuple[str, ...]:
    """The columns that differ between customers or moments: a shop without e-mails learns nothing from e-mails."""
    low = pd.concat([snapshot.frame[list(names)].astype(float).min() for snapshot in taken], axis=1)
    high = pd.concat(
        [snapshot.frame[list(names)].astype(float).max() for snapshot in taken], axis=1
    )
    some = pd.concat([snapshot.frame[list(names)].isna().any() for snapshot in taken], axis=1).any(
        axis=1
    )
    empty = low.isna().all(axis=1)
    telling = (low.min(axis=1) < high.max(axis=1)) | (some & ~empty)
    return tuple(name for name in names if telling[name] or name in ("bg_no_purchase", *AS_IT_WAS))


def origins(cutoff: datetime, history_days: float, horizon_days: int) -> list[datetime]:
    """Moments of the snapshots, newest first: half a horizon apart, or evenly over the whole history from 13 months.

    Raises
    ------
    BadInput
        Where not even one horizon of history stands before one horizon of label.
    """
    if history_days < 2 * horizon_days:
        longest = int(history_days // 2)
        shorter = f"take a horizon of at most {longest} days or a later cutoff"
        raise BadInput(
            gettext(
                "A horizon of {horizon_days} days needs {horizon_days_2} days of history "
                "before the cutoff, and there are {value}; {value_2}."
            ).format(
                horizon_days=horizon_days,
                horizon_days_2=2 * horizon_days,
                value=int(history_days),
                value_2=shorter if longest >= SHORTEST else "import a longer history",
            )
        )
    room = history_days - horizon_days - min(horizon_days, LEAST_HISTORY)
    seasonal = history_days >= SEASON_FROM_DAYS
    most = MOST_FIT_SEASONAL if seasonal else MOST_FIT
    step = max(1, round(max(room / most, 7) if seasonal else min(horizon_days / 2, MOST_STEP)))
    return [
        cutoff - timedelta(days=horizon_days + step * number)
        for number in range(min(most, int(room // step) + 1))
    ]


def _nobody(cutoff: datetime, active_within_days: int | None) -> str:
    within = "ever" if active_within_days is None else f"in the {active_within_days} days"
    return f"Nobody ordered {within} before {cutoff:%Y-%m-%d}; choose a later cutoff or a longer --active-within."
