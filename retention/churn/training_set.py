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
from retention.window import Window

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

    `ahead`: forecast log change of the speed of repeat orders, see `swing`.
    `fits`: cache of `retention.churn.evaluation.rolling.fit_members`.
    `zone`: the shop's time zone (IANA).
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
    def window(self) -> Window:
        """The definition of churn."""
        return Window(self.horizon_days, self.active_within_days)

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
        """Return the training set at an earlier moment."""
        snapshots = self.before(moment)
        days = self.history_days - (self.cutoff - moment) / timedelta(days=1)
        if not snapshots:
            return None
        frame = next((own.frame for own in self.snapshots if own.cutoff == moment), None)
        ahead = 0.0 if frame is None or frame.empty else float(frame.season_ahead.iloc[0])
        return replace(self, cutoff=moment, history_days=days, snapshots=snapshots, ahead=ahead)

    def without_doubted(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Drop rows with doubted labels from snapshots. Evaluation keeps all rows."""
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
    """
    tables = [snapshot.matrix(columns, observed_season=True) for snapshot in snapshots]
    labels = [snapshot.labels for snapshot in snapshots]
    return _thinned(snapshots, tables), _thinned(snapshots, labels)


def stacked_return_times(snapshots: Sequence[Snapshot]) -> np.ndarray | None:
    """Return the return times of stacked rows, (n,). None if a snapshot has none."""
    times = [each.return_times for each in snapshots if each.return_times is not None]
    return _thinned(snapshots, times) if len(times) == len(snapshots) else None


def stacked_observed_horizons(snapshots: Sequence[Snapshot], horizon_days: int) -> np.ndarray:
    """Return the observed horizons of stacked rows.

    Returns: (n,): 2 if the second horizon ended together with the newest label window. An origin in
    the past must not use later orders.
    """
    last_cutoff = max(snapshot.cutoff for snapshot in snapshots) - timedelta(days=horizon_days)
    has_second = [
        snapshot.observed_horizons >= 2 and snapshot.cutoff <= last_cutoff for snapshot in snapshots
    ]
    sizes = [len(snapshot.frame) for snapshot in snapshots]
    rows = [np.full(size, 1.0 + second) for size, second in zip(sizes, has_second, strict=True)]
    return _thinned(snapshots, rows)


def _thinned(snapshots: Sequence[Snapshot], tables: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate the tables of snapshots, one each, with evenly spread rows of each."""
    most = MAX_ROWS if len(snapshots) > FEW_SNAPSHOTS else MAX_ROWS_OF_FEW
    step = max(1.0, sum(len(snapshot.frame) for snapshot in snapshots) / most)
    if step == 1:
        return np.concatenate(tables)
    return np.concatenate([rows[np.arange(0, len(rows), step).astype(int)] for rows in tables])


def build_training_set(
    lake: "Lake", *, cutoff: datetime, window: Window, progress: Progress = silent
) -> TrainingSet:
    """Take labelled snapshots before a cutoff.

    The newest snapshot is at ``cutoff − H``.

    `cutoff`: timezone-aware. All label windows end at or before it.
    Raises `TooLittleData`: without events or customers.
    """
    horizon_days = window.horizon_days
    coverage.check_trainable(lake, cutoff, horizon_days)
    events = coverage.without_reactions(lake.table("events", before=cutoff))
    first = events.occurred_at.min().execute()
    if first is None or first != first:  # NaT: events became known only later
        text = gettext(
            "No events were known before {local:%Y-%m-%d}; import some or choose a later cutoff."
        )
        raise TooLittleData(text.format(local=lake.local(cutoff)))
    days = (cutoff - first.to_pydatetime().replace(tzinfo=UTC)) / timedelta(days=1)
    has_season = days >= seasons.MIN_DAYS
    moments = snapshot_moments(cutoff, days, horizon_days)
    # One decision for all snapshots, as for the columns that vary: an event type that the shop
    # began to record between two of them stays a feature.
    unknown = unknown_features(lake, cutoff)
    snapshots = take_labelled_snapshots(
        lake,
        moments,
        window=window,
        seasonal=has_season,
        until=cutoff,
        unknown=unknown,
        progress=progress,
    )
    snapshots = [snapshot for snapshot in snapshots if len(snapshot.frame)]
    if not snapshots:
        raise TooLittleData(_no_customers_text(lake.local(cutoff), window.active_within_days))
    derived = (feature.name for feature in DERIVED)
    names = (*NAMES, *(name for name in derived if has_season or name not in SEASON_FEATURES))
    orders = daily_orders(lake, cutoff, 0)
    ahead = seasons.season_swing(orders, horizon_days, snapshots[0].purchases)
    columns = _varying_columns(snapshots, names)
    return TrainingSet(cutoff, *window, days, tuple(snapshots), columns, ahead, zone=lake.zone)


def _varying_columns(snapshots: Sequence[Snapshot], names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that differ between customers or moments.

    For example, e-mail features of a shop without e-mails are dropped.
    """
    frames = [snapshot.frame[list(names)].astype(float) for snapshot in snapshots]
    low = pd.concat([frame.min() for frame in frames], axis=1)
    high = pd.concat([frame.max() for frame in frames], axis=1)
    has_missing = pd.concat([frame.isna().any() for frame in frames], axis=1).any(axis=1)
    is_empty = low.isna().all(axis=1)
    is_varying = (low.min(axis=1) < high.max(axis=1)) | (has_missing & ~is_empty)
    return tuple(
        name for name in names if is_varying[name] or name in ("bg_no_purchase", *OBSERVED_SEASON)
    )


def snapshot_moments(cutoff: datetime, history_days: float, horizon_days: int) -> list[datetime]:
    """Return the cutoffs of the training snapshots, newest first.

    They are half a horizon apart, or spread evenly over 13 months and more.

    Raises `BadInput`: if the history is shorter than a horizon and what the oldest snapshot needs.
    """
    first_history = min(horizon_days, coverage.MAX_FIRST_HISTORY)
    if history_days < horizon_days + first_history:
        longest = coverage.longest_horizon(int(history_days), windows=1)
        text = gettext("take a horizon of at most {longest} days or a later cutoff")
        if longest >= MIN_HORIZON_DAYS:
            remedy = text.format(longest=longest)
        else:
            remedy = gettext("import a longer history")
        message = gettext(
            "A horizon of {horizon_days} days needs {history_days} days of history "
            "before the cutoff, and there are {available}; {remedy}."
        ).format(
            horizon_days=horizon_days,
            history_days=horizon_days + first_history,
            available=int(history_days),
            remedy=remedy,
        )
        raise BadInput(message)
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
