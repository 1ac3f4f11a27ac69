"""Take snapshots of customers: features and churn labels.

Intervals are half-open: features use ``occurred_at < cutoff``, the label window is ``[cutoff,
cutoff + horizon)``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from retention.churn import season as seasons
from retention.churn.model_features import (
    DERIVED,
    OBSERVED_SEASON,
    SEASON_FEATURES,
    bgnbd_features,
    buying_state_features,
    purchase_history,
)
from retention.errors import BadInput, TooLittleData
from retention.features import NAMES, build, quarters
from retention.lake import coverage
from retention.lake.frames import computed
from retention.progress import Progress, part, silent
from retention.text import gettext
from retention.value import bgnbd, gamma_gamma, hidden_markov

MIN_SEASON_DAYS = seasons.MIN_DAYS
MAX_SNAPSHOTS, MAX_SNAPSHOTS_SEASONAL = 12, 24
MAX_ROWS = 250_000  # training rows of all snapshots; more gain little and take long
MAX_FIRST_HISTORY, MAX_STEP_DAYS = 90, 30  # before the oldest snapshot; between snapshots
MIN_HORIZON_DAYS = 7  # shortest horizon that a message suggests
FIT_SAMPLE = 20_000  # customers; enough to fit four parameters


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Eligible customers at a cutoff, ordered by id.

    Parameters
    ----------
    cutoff : datetime
        Timezone-aware.
    frame : pandas.DataFrame
        (n,) rows with customer_id, the catalogue's features and `DERIVED`.
    churned : numpy.ndarray or None
        (n,) labels, 0 or 1. None without labels.
    buyers : int
        Customers with any order before the cutoff, also inactive ones.
    purchases, buying : BgNbd, BuyingStates
        Fitted on all buyers, in days and in quarters of H.
    spend : GammaGamma or None
        Spend per order day of all buyers. None for labelled snapshots and without spend.
    season : Season or None
        Needs 13 months of history.
    return_times : numpy.ndarray or None
        (n,) time until the next order, in horizons. Infinite without an order in the observed
        horizons.
    observed_horizons : float
        Horizons after the cutoff with known orders: 1 or 2.
    """

    cutoff: datetime
    frame: pd.DataFrame
    churned: np.ndarray | None
    buyers: int
    purchases: bgnbd.BgNbd
    buying: hidden_markov.BuyingStates
    spend: gamma_gamma.GammaGamma | None
    season: seasons.Season | None = None
    return_times: np.ndarray | None = None
    observed_horizons: float = 1.0

    @property
    def labels(self) -> np.ndarray:
        """Labels, (n,) 0 or 1.

        Raises
        ------
        ValueError
            If the snapshot has no labels.
        """
        if self.churned is None:
            raise ValueError("this snapshot has no labels")
        return self.churned

    @property
    def hashed(self) -> np.ndarray:
        """Hashes of the customer ids, (n,) uint64.

        Samples drawn by hash contain the same customers at every cutoff.
        """
        ids = self.frame.customer_id.astype(str).to_numpy(dtype=object)
        return pd.util.hash_array(ids, categorize=False)

    def matrix(self, columns: Sequence[str], *, observed_season: bool = False) -> np.ndarray:
        """Return feature columns as a matrix.

        Parameters
        ----------
        columns : sequence of str
            Names of the k features.
        observed_season : bool
            Use the season that happened instead of the forecast.

        Returns
        -------
        numpy.ndarray
            (n, k) float64, missing as NaN.
        """
        columns = (
            [OBSERVED_SEASON.get(name, name) for name in columns] if observed_season else columns
        )
        return self.frame[list(columns)].to_numpy(dtype=float, na_value=np.nan)

    def rows(self, keep: np.ndarray) -> "Snapshot":
        """Select customers by a boolean mask (n,)."""
        churned, return_times = (
            None if values is None else values[keep] for values in (self.churned, self.return_times)
        )
        return replace(
            self,
            frame=self.frame[keep].reset_index(drop=True),
            churned=churned,
            return_times=return_times,
        )


@dataclass(frozen=True, slots=True)
class _History:
    """Buyers before a cutoff and their orders.

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers, ordered by id, with the catalogue's features.
    quarters : tuple of numpy.ndarray
        Order days per quarter of H, see `order_day_counts`.
    daily_orders : DailyOrders
        Orders per day of the shop, up to the end of the label window.
    """

    frame: pd.DataFrame
    quarters: tuple[np.ndarray, np.ndarray]
    daily_orders: seasons.DailyOrders


def take_snapshot(
    lake: Any,
    cutoff: datetime,
    *,
    horizon_days: int,
    active_within_days: int | None,
    labelled: bool = True,
    seasonal: bool | None = None,
    until: datetime | None = None,
) -> Snapshot:
    """Compute features and labels at a cutoff.

    Parameters
    ----------
    lake : Lake
        Source of events.
    cutoff : datetime
        Timezone-aware.
    horizon_days : int
        H.
    active_within_days : int or None
        Keep customers with an order in these days before the cutoff. None: all buyers.
    labelled : bool
        Add labels from the horizon after the cutoff.
    seasonal : bool or None
        Fit the season. None: if 13 months are known.
    until : datetime or None
        End of known orders: a second horizon that ends by then extends ``return_times``.

    Returns
    -------
    Snapshot
        Models are fitted on all buyers, also inactive ones.
    """
    history = _extract_history(lake, cutoff, horizon_days, horizon_days if labelled else 0)
    snapshot = _compute_features(history, cutoff, horizon_days, seasonal)
    if labelled:
        snapshot = _attach_labels(snapshot, lake, history, horizon_days, until)
    else:
        snapshot = replace(snapshot, spend=_fit_spend(history.frame[:: _fit_step(history.frame)]))
    if active_within_days is None:
        return snapshot
    return snapshot.rows((snapshot.frame.recency_days <= active_within_days).to_numpy(dtype=bool))


def _extract_history(lake: Any, cutoff: datetime, horizon_days: int, label_days: int) -> _History:
    """Read the buyers and their order history before a cutoff."""
    everyone = build(lake, cutoff, horizon_days=horizon_days, active_within_days=None)
    frame = computed(everyone.order_by("customer_id")).reset_index(drop=True)
    counts = quarters.order_day_counts(lake, cutoff, frame.customer_id, horizon_days=horizon_days)
    return _History(frame, counts, _daily_orders(lake, cutoff, label_days))


def _compute_features(
    history: _History, cutoff: datetime, horizon_days: int, seasonal: bool | None
) -> Snapshot:
    """Fit the purchase models and add their features."""
    frame = history.frame
    sample = slice(None, None, _fit_step(frame))
    x, t_x, age = (values[sample] for values in purchase_history(frame))
    purchases = bgnbd.fit(x, t_x, age) if len(frame) else bgnbd.BgNbd(1, 1, 1, 1)
    buying = hidden_markov.fit(*history.quarters)
    angle = 2 * np.pi * cutoff.timetuple().tm_yday / 365.25
    frame = frame.assign(
        **bgnbd_features(purchases, frame, horizon_days),
        **buying_state_features(buying, *history.quarters),
        season_sin=np.sin(angle),
        season_cos=np.cos(angle),
    )
    season = None
    if len(frame) and (history.daily_orders.has_full_year if seasonal is None else seasonal):
        season = seasons.fit_season(history.daily_orders, horizon_days, purchases, x, t_x, age)
    frame = frame.assign(**_forecast_season(season, frame))
    return Snapshot(cutoff, frame, None, len(frame), purchases, buying, None, season)


def _attach_labels(
    snapshot: Snapshot, lake: Any, history: _History, horizon_days: int, until: datetime | None
) -> Snapshot:
    """Add labels, return times and the observed season."""
    frame, cutoff, horizon = snapshot.frame, snapshot.cutoff, timedelta(days=horizon_days)
    first = days_to_next_purchase(lake, frame.customer_id, cutoff, cutoff + horizon)
    return_times, observed_horizons = first / horizon_days, 1.0
    if until is not None and cutoff + 2 * horizon <= until:
        both = days_to_next_purchase(lake, frame.customer_id, cutoff, cutoff + 2 * horizon)
        # an order of the first horizon that became known only after its end changes no label
        later = np.maximum(both / horizon_days, 1)
        return_times = np.where(np.isinf(return_times), later, return_times)
        observed_horizons = 2.0
    return replace(
        snapshot,
        frame=frame.assign(**_observed_season(snapshot, history.daily_orders)),
        churned=(return_times >= 1).astype(float),
        return_times=return_times,
        observed_horizons=observed_horizons,
    )


def _fit_step(frame: pd.DataFrame) -> int:
    """Return the step between customers in the sample for fits."""
    return len(frame) // FIT_SAMPLE + 1


def _forecast_season(season: seasons.Season | None, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the forecast season features.

    Without a season these are the plain ones, which are also the observed ones.
    """
    if season is None:
        plain = {"season_ahead": 0.0, "season_no_purchase": frame.bg_no_purchase}
        return plain | {OBSERVED_SEASON[name]: value for name, value in plain.items()}
    no_purchase = season.no_purchase(*purchase_history(frame))
    return {"season_ahead": season.faster, "season_no_purchase": no_purchase}


def _observed_season(snapshot: Snapshot, orders: seasons.DailyOrders) -> dict[str, Any]:
    """Return the season features as they turned out."""
    season = snapshot.season
    if season is None:
        return {}
    ahead, faster = seasons.observed_season(orders, season, snapshot.purchases)
    no_purchase = season.no_purchase(*purchase_history(snapshot.frame), ahead)
    return {"season_now": faster, "season_no_purchase_now": no_purchase}


def _daily_orders(lake: Any, cutoff: datetime, label_days: int) -> seasons.DailyOrders:
    """Count first and repeat orders per day (UTC).

    Includes the label window.
    """
    events = lake.table("events", before=cutoff + timedelta(days=label_days))
    bought = events.filter(events.event_type == "purchase")
    first_orders = bought.group_by("customer_id").agg(day=bought.occurred_at.min().date())
    first = first_orders.group_by("day").agg(customers=first_orders.count()).execute()
    every = (
        bought.group_by(day=bought.occurred_at.date())
        .agg(customers=bought.customer_id.nunique())
        .execute()
    )
    if not len(every):
        return seasons.DailyOrders(np.zeros(0), np.zeros(0), 0)
    end = pd.Timestamp(cutoff).tz_convert(None).normalize()
    start = pd.to_datetime(every.day).min()
    days = max((end - start).days, 0)
    counts = [
        np.bincount(
            (pd.to_datetime(table.day) - start).dt.days,
            weights=table.customers,
            minlength=days + label_days,
        )[: days + label_days]
        for table in (first, every)
    ]
    return seasons.DailyOrders(counts[0], counts[1] - counts[0], days)


def _fit_spend(frame: pd.DataFrame) -> gamma_gamma.GammaGamma | None:
    days = frame.order_days.to_numpy(dtype=float)
    mean = frame.spend_all.to_numpy(dtype=float) / np.maximum(days, 1)
    return gamma_gamma.fit(days, mean) if (mean > 0).any() else None


def days_to_next_purchase(
    lake: Any, customers: pd.Series, since: datetime, until: datetime
) -> np.ndarray:
    """Return the days until each customer's next purchase, (n,).

    Parameters
    ----------
    lake : Lake
    customers : pandas.Series
        (n,) ids.
    since, until : datetime
        Window ``[since, until)``, timezone-aware.

    Returns
    -------
    numpy.ndarray
        Infinite without a purchase in the window.
    """
    events = lake.table("events", before=until, since=since)
    bought = events.filter(events.event_type == "purchase")
    first = bought.group_by("customer_id").agg(at=bought.occurred_at.min()).execute()
    start = pd.Timestamp(since.astimezone(UTC).replace(tzinfo=None))
    at = pd.to_datetime(first.set_index("customer_id")["at"])
    days = (at.reindex(customers) - start) / pd.Timedelta(days=1)
    return days.fillna(np.inf).to_numpy(dtype=float)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labelled snapshots before a cutoff, newest first.

    All label windows end at or before the cutoff.

    Parameters
    ----------
    cutoff : datetime
    horizon_days : int
    active_within_days : int or None
    history_days : float
        Length of the shop's history.
    snapshots : tuple of Snapshot
    columns : tuple of str
        Feature columns that vary.
    ahead : float
        Forecast log change of the speed of repeat orders, see `swing`.
    settings : mapping
        Settings per estimator that replace the defaults.
    doubted : mapping
        Cutoff → (n,) mask of rows with doubted labels.
    fits : dict
        Cache of `retention.churn.rolling.fit_cached`.
    zone : str
        The shop's time zone (IANA).
    """

    cutoff: datetime
    horizon_days: int
    active_within_days: int | None
    history_days: float
    snapshots: tuple[Snapshot, ...]
    columns: tuple[str, ...]
    ahead: float = 0.0
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    doubted: Mapping[datetime, np.ndarray] = field(default_factory=dict)
    fits: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    zone: str = "UTC"

    @property
    def newest(self) -> Snapshot:
        """The newest labelled snapshot."""
        return self.snapshots[0]

    def day(self, moment: datetime) -> str:
        """Format a moment as a local date of the shop."""
        return f"{moment.astimezone(ZoneInfo(self.zone)):%Y-%m-%d}"

    @property
    def has_season(self) -> bool:
        """Whether the history is long enough to fit a season."""
        return self.history_days >= MIN_SEASON_DAYS

    @property
    def swing(self) -> float:
        """Forecast log change of repeat orders.

        Speed in the next horizon over that in the last one.

        0 without a season.
        """
        return self.ahead if self.has_season else 0.0

    def before(self, moment: datetime) -> tuple[Snapshot, ...]:
        """Return the snapshots with outcomes known at ``moment``."""
        horizon = timedelta(days=self.horizon_days)
        return tuple(snapshot for snapshot in self.snapshots if snapshot.cutoff + horizon <= moment)

    def as_of(self, moment: datetime) -> "TrainingSet | None":
        """Return the training set at an earlier moment.

        Returns
        -------
        TrainingSet or None
            None if no label window ended by then.
        """
        known = self.before(moment)
        days = self.history_days - (self.cutoff - moment) / timedelta(days=1)
        snapshot = next(
            (candidate for candidate in self.snapshots if candidate.cutoff == moment), None
        )
        ahead = (
            0.0
            if snapshot is None or snapshot.frame.empty
            else float(snapshot.frame.season_ahead.iloc[0])
        )
        return (
            replace(self, cutoff=moment, history_days=days, snapshots=known, ahead=ahead)
            if known
            else None
        )

    def without_doubted(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Drop rows with doubted labels from snapshots.

        Evaluation keeps all rows.
        """
        return [
            snapshot.rows(~self.doubted[snapshot.cutoff])
            if snapshot.cutoff in self.doubted
            else snapshot
            for snapshot in snapshots
        ]

    def stacked(self, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, k) features and (n,) labels of all snapshots."""
        return stack_rows(self.without_doubted(self.snapshots), columns)


def stack_rows(
    snapshots: Sequence[Snapshot], columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate features and labels of snapshots.

    Rows are thinned evenly to `MAX_ROWS`. The features contain the observed season, because the
    label windows are over.

    Parameters
    ----------
    snapshots : sequence of Snapshot
    columns : sequence of str
        Names of the k features.

    Returns
    -------
    X : numpy.ndarray
        (n, k) features.
    y : numpy.ndarray
        (n,) labels.
    """
    step = _row_step(snapshots)
    return (
        np.concatenate(
            [snapshot.matrix(columns, observed_season=True)[::step] for snapshot in snapshots]
        ),
        np.concatenate([snapshot.labels[::step] for snapshot in snapshots]),
    )


def stacked_return_times(snapshots: Sequence[Snapshot]) -> np.ndarray | None:
    """Return the return times of stacked rows, (n,).

    None if a snapshot has none.
    """
    known = [snapshot.return_times for snapshot in snapshots if snapshot.return_times is not None]
    if len(known) < len(snapshots):
        return None
    step = _row_step(snapshots)
    return np.concatenate([times[::step] for times in known])


def stacked_observed_horizons(snapshots: Sequence[Snapshot], horizon_days: int) -> np.ndarray:
    """Return the observed horizons of stacked rows.

    Parameters
    ----------
    snapshots : sequence of Snapshot
    horizon_days : int

    Returns
    -------
    numpy.ndarray
        (n,): 2 if the second horizon ended together with the newest label window. An origin in the
        past must not use later orders.
    """
    last_cutoff = max(snapshot.cutoff for snapshot in snapshots) - timedelta(days=horizon_days)
    horizons = [
        2.0 if snapshot.observed_horizons >= 2 and snapshot.cutoff <= last_cutoff else 1.0
        for snapshot in snapshots
    ]
    step = _row_step(snapshots)
    return np.concatenate(
        [
            np.full(len(snapshot.frame), number)[::step]
            for snapshot, number in zip(snapshots, horizons, strict=True)
        ]
    )


def _row_step(snapshots: Sequence[Snapshot]) -> int:
    """Return the step between the rows to keep.

    At most `MAX_ROWS` remain.
    """
    return -(-sum(len(snapshot.frame) for snapshot in snapshots) // MAX_ROWS) or 1


def build_training_set(
    lake: Any,
    *,
    cutoff: datetime,
    horizon_days: int,
    active_within_days: int | None,
    progress: Progress = silent,
) -> TrainingSet:
    """Take labelled snapshots before a cutoff.

    The newest snapshot is at ``cutoff − H``.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Timezone-aware. All label windows end at or before it.
    horizon_days : int
    active_within_days : int or None
    progress : Progress

    Raises
    ------
    BadInput
        If the horizon is too long for the history.
    TooLittleData
        Without events or customers.
    """
    coverage.learnable(lake, cutoff, horizon_days)
    first = lake.table("events", before=cutoff).occurred_at.min().execute()
    if first is None or first != first:  # NaT: events became known only later
        raise TooLittleData(
            gettext(
                "No events were known before {local:%Y-%m-%d}; import some or choose a later "
                "cutoff."
            ).format(local=lake.local(cutoff))
        )
    days = (cutoff - first.to_pydatetime().replace(tzinfo=UTC)) / timedelta(days=1)
    moments = snapshot_moments(cutoff, days, horizon_days)
    snapshots = []
    for number, moment in enumerate(moments):
        inner = part(progress, number, len(moments))
        inner(0, 1, gettext("Features as of {day:%d %b %Y}").format(day=lake.local(moment)))
        snapshots.append(
            take_snapshot(
                lake,
                moment,
                horizon_days=horizon_days,
                active_within_days=active_within_days,
                seasonal=days >= MIN_SEASON_DAYS,
                until=cutoff,
            )
        )
    snapshots = [snapshot for snapshot in snapshots if len(snapshot.frame)]
    if not snapshots:
        raise TooLittleData(_no_customers_text(lake.local(cutoff), active_within_days))
    names = (
        *NAMES,
        *(
            feature.name
            for feature in DERIVED
            if days >= MIN_SEASON_DAYS or feature.name not in SEASON_FEATURES
        ),
    )
    ahead = seasons.season_swing(
        _daily_orders(lake, cutoff, 0), horizon_days, snapshots[0].purchases
    )
    return TrainingSet(
        cutoff,
        horizon_days,
        active_within_days,
        days,
        tuple(snapshots),
        _varying_columns(snapshots, names),
        ahead,
        zone=lake.zone,
    )


def _varying_columns(snapshots: Sequence[Snapshot], names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that differ between customers or moments.

    For example, e-mail features of a shop without e-mails are dropped.
    """
    low = pd.concat(
        [snapshot.frame[list(names)].astype(float).min() for snapshot in snapshots], axis=1
    )
    high = pd.concat(
        [snapshot.frame[list(names)].astype(float).max() for snapshot in snapshots], axis=1
    )
    has_missing = pd.concat(
        [snapshot.frame[list(names)].isna().any() for snapshot in snapshots], axis=1
    ).any(axis=1)
    is_empty = low.isna().all(axis=1)
    is_varying = (low.min(axis=1) < high.max(axis=1)) | (has_missing & ~is_empty)
    return tuple(
        name for name in names if is_varying[name] or name in ("bg_no_purchase", *OBSERVED_SEASON)
    )


def snapshot_moments(cutoff: datetime, history_days: float, horizon_days: int) -> list[datetime]:
    """Return the cutoffs of the training snapshots, newest first.

    They are half a horizon apart, or spread evenly over 13 months and more.

    Parameters
    ----------
    cutoff : datetime
    history_days : float
    horizon_days : int

    Raises
    ------
    BadInput
        If the history is shorter than two horizons.
    """
    if history_days < 2 * horizon_days:
        longest = int(history_days // 2)
        remedy = (
            gettext("take a horizon of at most {longest} days or a later cutoff").format(
                longest=longest
            )
            if longest >= MIN_HORIZON_DAYS
            else gettext("import a longer history")
        )
        raise BadInput(
            gettext(
                "A horizon of {horizon_days} days needs {history_days} days of history "
                "before the cutoff, and there are {available}; {remedy}."
            ).format(
                horizon_days=horizon_days,
                history_days=2 * horizon_days,
                available=int(history_days),
                remedy=remedy,
            )
        )
    room = history_days - horizon_days - min(horizon_days, MAX_FIRST_HISTORY)
    seasonal = history_days >= MIN_SEASON_DAYS
    most = MAX_SNAPSHOTS_SEASONAL if seasonal else MAX_SNAPSHOTS
    step = max(1, round(max(room / most, 7) if seasonal else min(horizon_days / 2, MAX_STEP_DAYS)))
    return [
        cutoff - timedelta(days=horizon_days + step * number)
        for number in range(min(most, int(room // step) + 1))
    ]


def _no_customers_text(cutoff: datetime, active_within_days: int | None) -> str:
    if active_within_days is None:
        return gettext(
            "Nobody ordered ever before {cutoff:%Y-%m-%d}; choose a later cutoff or a longer "
            "--active-within."
        ).format(cutoff=cutoff)
    return gettext(
        "Nobody ordered in the {days} days before {cutoff:%Y-%m-%d}; choose a later cutoff or a "
        "longer --active-within."
    ).format(days=active_within_days, cutoff=cutoff)


def exclude_doubted_labels(
    training: TrainingSet, doubts: Collection[tuple[str, datetime]]
) -> TrainingSet:
    """Exclude doubted labels from training.

    A label is doubted if its window contains the moment that a user marked as wrong. Model
    selection, calibration and evaluation keep all customers, so opinions cannot bias them.

    Parameters
    ----------
    training : TrainingSet
    doubts : collection of (str, datetime)
        Customer id and moment.
    """
    if not doubts:
        return training
    doubted = {
        snapshot.cutoff: _doubted_rows(snapshot, doubts, training.horizon_days)
        for snapshot in training.snapshots
    }
    return replace(
        training, doubted={moment: rows for moment, rows in doubted.items() if rows.any()}, fits={}
    )


def _doubted_rows(
    snapshot: Snapshot, doubts: Collection[tuple[str, datetime]], horizon_days: int
) -> np.ndarray:
    """Return the mask of customers with doubted labels, (n,)."""
    end = snapshot.cutoff + timedelta(days=horizon_days)
    customers = {customer for customer, as_of in doubts if snapshot.cutoff <= as_of < end}
    return snapshot.frame.customer_id.isin(customers).to_numpy()
