"""Training sets of churn models: labelled snapshots before a cutoff."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from retention.churn import season as seasons
from retention.churn.model_features import DERIVED, OBSERVED_SEASON, SEASON_FEATURES
from retention.churn.snapshots import Snapshot, daily_orders, take_labelled_snapshots
from retention.errors import BadInput, TooLittleData
from retention.features import NAMES
from retention.features.availability import unknown_features
from retention.lake import coverage
from retention.progress import Progress, silent
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_SNAPSHOTS, MAX_SNAPSHOTS_SEASONAL = 12, 24
# training rows of all snapshots; more gain nothing (docs/research/more_rows.md)
MAX_ROWS = 60_000
# Few snapshots hardly repeat each other's orders, so all of their rows count.
FEW_SNAPSHOTS, MAX_ROWS_OF_FEW = 4, 250_000
MAX_STEP_DAYS = 30  # between snapshots
MIN_BUYERS = 100  # for any model
MIN_HORIZON_DAYS = 7  # shortest horizon that a message suggests


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
        Cache of `retention.churn.rolling.fit_members`.
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
        return self.history_days >= seasons.MIN_DAYS

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
        snapshots = self.before(moment)
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
            replace(self, cutoff=moment, history_days=days, snapshots=snapshots, ahead=ahead)
            if snapshots
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

    Rows are thinned evenly to `MAX_ROWS`, of few snapshots to `MAX_ROWS_OF_FEW`. The features
    contain the observed season, because the label windows are over.

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
            [
                _thinned(snapshot.matrix(columns, observed_season=True), step)
                for snapshot in snapshots
            ]
        ),
        np.concatenate([_thinned(snapshot.labels, step) for snapshot in snapshots]),
    )


def stacked_return_times(snapshots: Sequence[Snapshot]) -> np.ndarray | None:
    """Return the return times of stacked rows, (n,).

    None if a snapshot has none.
    """
    available = [
        snapshot.return_times for snapshot in snapshots if snapshot.return_times is not None
    ]
    if len(available) < len(snapshots):
        return None
    step = _row_step(snapshots)
    return np.concatenate([_thinned(times, step) for times in available])


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
            _thinned(np.full(len(snapshot.frame), number), step)
            for snapshot, number in zip(snapshots, horizons, strict=True)
        ]
    )


def _row_step(snapshots: Sequence[Snapshot]) -> float:
    """Return the mean distance between the rows to keep, 1 or more."""
    most = MAX_ROWS if len(snapshots) > FEW_SNAPSHOTS else MAX_ROWS_OF_FEW
    return max(1.0, sum(len(snapshot.frame) for snapshot in snapshots) / most)


def _thinned(rows: np.ndarray, step: float) -> np.ndarray:
    """Return rows that are evenly spread."""
    return rows if step == 1 else rows[np.arange(0, len(rows), step).astype(int)]


def build_training_set(
    lake: "Lake",
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
    coverage.check_trainable(lake, cutoff, horizon_days)
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
    # One decision for all snapshots, as for the columns that vary: an event type that the shop
    # began to record between two of them stays a feature.
    unknown = unknown_features(lake, cutoff)
    snapshots = take_labelled_snapshots(
        lake,
        moments,
        horizon_days=horizon_days,
        active_within_days=active_within_days,
        seasonal=days >= seasons.MIN_DAYS,
        until=cutoff,
        unknown=unknown,
        progress=progress,
    )
    snapshots = [snapshot for snapshot in snapshots if len(snapshot.frame)]
    if not snapshots:
        raise TooLittleData(_no_customers_text(lake.local(cutoff), active_within_days))
    names = (
        *NAMES,
        *(
            feature.name
            for feature in DERIVED
            if days >= seasons.MIN_DAYS or feature.name not in SEASON_FEATURES
        ),
    )
    ahead = seasons.season_swing(
        daily_orders(lake, cutoff, 0), horizon_days, snapshots[0].purchases
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
        If the history is shorter than a horizon and what the oldest snapshot needs.
    """
    first_history = min(horizon_days, coverage.MAX_FIRST_HISTORY)
    if history_days < horizon_days + first_history:
        longest = coverage.longest_horizon(int(history_days), windows=1)
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
                history_days=horizon_days + first_history,
                available=int(history_days),
                remedy=remedy,
            )
        )
    room = history_days - horizon_days - first_history
    seasonal = history_days >= seasons.MIN_DAYS
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
