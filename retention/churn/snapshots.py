"""Take snapshots of customers: features and churn labels.

Intervals are half-open: features use ``occurred_at < cutoff``, the label window is ``[cutoff,
cutoff + horizon)``.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from retention.churn import season as seasons
from retention.churn.model_features import (
    OBSERVED_SEASON,
    bgnbd_features,
    buying_state_features,
    purchase_history,
)
from retention.errors import TooLittleData
from retention.features import NAMES, build, quarters
from retention.features.availability import unknown_features
from retention.features.build import FeatureTables
from retention.lake.relations import relations
from retention.lake.storage.delta_store import to_frame
from retention.progress import Progress, silent
from retention.text import gettext
from retention.value import bgnbd, gamma_gamma, hidden_markov
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake

# What rules, expected spend, next order and the fits need. All features take four times as long.
BUYER_FEATURES = (
    "recency_days",
    "tenure_days",
    "order_days",
    "orders_all",
    "spend_all",
    "gap_median",
    "gap_max",
)
LEAST = ("recency_days",)  # to count the buyers
BASELINE_FEATURES = ("recency_days", "tenure_days", "order_days", "orders_all", "basket_mean")
FIT_SAMPLE = 20_000  # customers; enough to fit four parameters
# Customers of each training snapshot, those with the lowest hashes. Fits take fewer rows of most
# shops (`training_set.MAX_ROWS`).
MAX_TRAINING, MAX_TRAINING_OF_FEW, FEW = 50_000, 250_000, 4
SIDE_BY_SIDE = 100_000  # customers; with more, two snapshots at once would raise the peak of memory


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Eligible customers at a cutoff, ordered by id.

    `frame`: (n,) rows with customer_id, the catalogue's features and `DERIVED`.
    `churned`: (n,) labels, 0 or 1. None without labels.
    `buyers`: customers with any order before the cutoff, also inactive ones.
    `purchases`, `buying`: fitted on all buyers, in days and in quarters of H. ``buying`` is None in
    a snapshot for baselines or rules.
    `spend`: spend per order day of all buyers. None for labelled snapshots and without spend.
    `season`: needs 13 months of history.
    `contacts`: feature ``contacts_lapsed`` by id, of the customers with contacts.
    `return_times`: (n,) time until the next order, in horizons. Infinite without an order in the
    observed horizons.
    `observed_horizons`: horizons after the cutoff with known orders: 1 or 2.
    """

    cutoff: datetime
    frame: pd.DataFrame
    churned: np.ndarray | None
    buyers: int
    purchases: bgnbd.BgNbd
    buying: hidden_markov.BuyingStates | None
    spend: gamma_gamma.GammaGamma | None
    season: seasons.Season | None = None
    contacts: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    return_times: np.ndarray | None = None
    observed_horizons: float = 1.0

    @property
    def labels(self) -> np.ndarray:
        """Labels, (n,) 0 or 1."""
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

        Returns: (n, k) float64, missing as NaN.
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
        frame = self.frame[keep].reset_index(drop=True)
        return replace(self, frame=frame, churned=churned, return_times=return_times)


@dataclass(frozen=True, slots=True)
class _History:
    """Buyers before a cutoff and their orders.

    `frame`: (n,) customers, ordered by id, with the catalogue's features.
    `quarters`: order days per quarter of H, see `order_day_counts`.
    `daily_orders`: orders per day of the shop, up to the end of the label window.
    """

    frame: pd.DataFrame
    quarters: tuple[np.ndarray, np.ndarray]
    daily_orders: seasons.DailyOrders


def take_snapshot(
    lake: "Lake",
    cutoff: datetime,
    window: Window,
    *,
    labelled: bool = True,
    names: Sequence[str] = NAMES,
) -> Snapshot:
    """Compute features and labels at a cutoff.

    `labelled`: add labels from the horizon after the cutoff.
    `names`: features of the catalogue; the fits need `BUYER_FEATURES`.
    Features that the shop's data cannot tell are missing for all customers.
    """
    horizon = window.horizon_days
    history = _extract_history(lake, cutoff, horizon, horizon if labelled else 0, names)
    seasonal = history.daily_orders.has_full_year
    snapshot = _compute_features(history, cutoff, horizon, seasonal)
    if labelled:
        snapshot = _attach_labels(snapshot, lake, history, horizon, cutoff)
    else:
        snapshot = replace(snapshot, spend=fit_spend(history.frame))
    return eligible(snapshot, unknown_features(lake, cutoff), window)


def take_baseline_snapshot(lake: "Lake", cutoff: datetime, window: Window) -> Snapshot:
    """Compute labels, and the few features that the baselines need, at a cutoff.

    It takes a sixth of the time of `take_snapshot`.
    """
    horizon_days = window.horizon_days
    frame = buyers_frame(lake, cutoff, horizon_days, BASELINE_FEATURES)
    purchases = fit_purchases(frame)
    frame = frame.assign(**bgnbd_features(purchases, frame, horizon_days))
    until = cutoff + timedelta(days=horizon_days)
    times = days_to_next_purchase(lake, frame.customer_id, cutoff, until) / horizon_days
    churned = (times >= 1).astype(float)
    snapshot = Snapshot(
        cutoff, frame, churned, len(frame), purchases, None, None, return_times=times
    )
    missing = unknown_features(lake, cutoff) & set(BASELINE_FEATURES)
    return eligible(snapshot, missing, window)


def snapshot_with(
    fits: Snapshot, lake: FeatureTables, cutoff: datetime, window: Window, unknown: Collection[str]
) -> Snapshot:
    """Compute features with the models that were fitted on another snapshot."""
    assert fits.buying is not None
    frame, counts = _read_buyers(lake, cutoff, window.horizon_days)
    contacts = frame.customer_id.astype(str).map(fits.contacts).astype(float)
    frame = frame.assign(contacts_lapsed=contacts)
    frame = _with_fits(frame, counts, cutoff, window.horizon_days, fits.purchases, fits.buying)
    frame = frame.assign(**_forecast_season(fits.season, frame))
    snapshot = replace(
        fits, cutoff=cutoff, frame=frame, churned=None, return_times=None, buyers=len(frame)
    )
    return eligible(snapshot, unknown, window)


def take_labelled_snapshots(
    lake: "Lake",
    cutoffs: Sequence[datetime],
    window: Window,
    *,
    seasonal: bool,
    until: datetime,
    unknown: Collection[str],
    progress: Progress = silent,
) -> list[Snapshot]:
    """Take several snapshots with labels.

    The purchase models of one are fitted while the lake is read for the next, if both fit into
    memory together.

    `until`: end of known orders: a second horizon that ends by then extends ``return_times``.
    `unknown`: features that the shop's data cannot tell; they are missing for all customers.
    """
    snapshots: list[Snapshot] = []
    waiting: tuple[_History, Future[Snapshot]] | None = None
    horizon_days = window.horizon_days
    most = MAX_TRAINING if len(cutoffs) > FEW else MAX_TRAINING_OF_FEW // max(len(cutoffs), 1)
    is_large = len(cutoffs) and len(buyers_frame(lake, cutoffs[0], horizon_days, LEAST)) > most

    def finish(history: _History, fitted: Future[Snapshot]) -> None:
        snapshot = _attach_labels(fitted.result(), lake, history, horizon_days, until)
        snapshot = eligible(snapshot, unknown, window)
        snapshots.append(_sampled(snapshot, lake, horizon_days, most) if is_large else snapshot)

    # the limit is the process's: no fit may lift it while another thread computes
    with threadpool_limits(1), ThreadPoolExecutor(1) as pool:
        for number, cutoff in enumerate(cutoffs):
            what = gettext("Features as of {day:%d %b %Y}").format(day=lake.local(cutoff))
            progress(number, len(cutoffs), what)
            if waiting and len(waiting[0].frame) > SIDE_BY_SIDE:
                finish(*waiting)
                waiting = None
            names = BUYER_FEATURES if is_large else NAMES
            history = _extract_history(lake, cutoff, horizon_days, horizon_days, names)
            fitted = pool.submit(_compute_features, history, cutoff, horizon_days, seasonal)
            if waiting:
                finish(*waiting)
            waiting = history, fitted
        if waiting:
            finish(*waiting)
    return snapshots


def _sampled(snapshot: Snapshot, lake: "Lake", horizon_days: int, most: int) -> Snapshot:
    """Keep the customers with the lowest hashes, and read all of their features."""
    keep = np.zeros(len(snapshot.frame), dtype=bool)
    keep[np.argsort(snapshot.hashed, kind="stable")[:most]] = True
    few = snapshot.rows(keep)
    everyone = build(lake, snapshot.cutoff, Window(horizon_days, None))
    listed = everyone.semi_join(ibis.memtable(few.frame[["customer_id"]]), "customer_id")
    return with_features(few, to_frame(listed.order_by("customer_id")))


def with_features(snapshot: Snapshot, features: pd.DataFrame) -> Snapshot:
    """Add the catalogue's features to a snapshot with `BUYER_FEATURES`.

    Raises `TooLittleData`: if they are of other customers, because an import ended meanwhile.
    """
    own = snapshot.frame
    if not features.customer_id.equals(own.customer_id):
        message = gettext("The data changed while customers were read; try again.")
        raise TooLittleData(message)
    return replace(snapshot, frame=features.assign(**{name: own[name] for name in own.columns}))


def eligible(snapshot: Snapshot, unknown: Collection[str], window: Window) -> Snapshot:
    """Blank unknown features and keep the active customers."""
    if unknown:
        frame = snapshot.frame.assign(**dict.fromkeys(sorted(unknown), np.nan))
        snapshot = replace(snapshot, frame=frame)
    if window.active_within_days is None:
        return snapshot
    is_active = snapshot.frame.recency_days <= window.active_within_days
    return snapshot.rows(is_active.to_numpy(dtype=bool))


def _extract_history(
    lake: "Lake", cutoff: datetime, horizon_days: int, label_days: int, names: Sequence[str] = NAMES
) -> _History:
    """Read the buyers and their order history before a cutoff."""
    frame, counts = _read_buyers(lake, cutoff, horizon_days, names)
    frame = frame.assign(contacts_lapsed=contacts_lapsed(lake, cutoff, frame, horizon_days))
    return _History(frame, counts, daily_orders(lake, cutoff, label_days))


def buyers_frame(
    lake: FeatureTables, cutoff: datetime, horizon_days: int, names: Sequence[str]
) -> pd.DataFrame:
    """Read features of everyone who ever ordered, by customer id."""
    everyone = build(lake, cutoff, Window(horizon_days, None), names=names)
    return to_frame(everyone.order_by("customer_id")).reset_index(drop=True)


def _read_buyers(
    lake: FeatureTables, cutoff: datetime, horizon_days: int, names: Sequence[str] = NAMES
) -> tuple[pd.DataFrame, tuple[np.ndarray, np.ndarray]]:
    """Read the buyers' features and their order days per quarter of H."""
    frame = buyers_frame(lake, cutoff, horizon_days, names)
    counts = quarters.order_day_counts(lake, cutoff, frame.customer_id, horizon_days=horizon_days)
    return frame, counts


def contacts_lapsed(
    lake: "Lake", cutoff: datetime, frame: pd.DataFrame, horizon_days: int
) -> np.ndarray:
    """Return the share of each customer's contacts who lapsed, (n,); missing without contacts.

    A contact has lapsed whose last order is more than one horizon ago.

    `frame`: everyone who ever ordered, with ``recency_days``.
    """
    related = relations(lake, cutoff)[["customer_id", "other_id"]].drop_duplicates()
    if related.empty:
        return np.full(len(frame), np.nan)
    has_lapsed = (frame.recency_days > horizon_days).astype(float)
    has_lapsed.index = pd.Index(frame.customer_id.astype(str))
    of_contact = related.other_id.astype(str).map(has_lapsed)
    shares = of_contact.groupby(related.customer_id.astype(str)).mean()
    return frame.customer_id.astype(str).map(shares).to_numpy(dtype=float)


def _compute_features(
    history: _History, cutoff: datetime, horizon_days: int, seasonal: bool
) -> Snapshot:
    """Fit the purchase models and add their features."""
    frame = history.frame
    purchases = fit_purchases(frame)
    buying = hidden_markov.fit(*history.quarters)
    frame = _with_fits(frame, history.quarters, cutoff, horizon_days, purchases, buying)
    season = None
    if len(frame) and seasonal:
        season = seasons.fit_season(
            history.daily_orders, horizon_days, purchases, *purchase_history(_sample(frame))
        )
    frame = frame.assign(**_forecast_season(season, frame))
    known = frame[["customer_id", "contacts_lapsed"]].dropna()
    contacts = pd.Series(known.contacts_lapsed.to_numpy(), index=known.customer_id.astype(str))
    return Snapshot(cutoff, frame, None, len(frame), purchases, buying, None, season, contacts)


def _with_fits(
    frame: pd.DataFrame,
    counts: tuple[np.ndarray, np.ndarray],
    cutoff: datetime,
    horizon_days: int,
    purchases: bgnbd.BgNbd,
    buying: hidden_markov.BuyingStates,
) -> pd.DataFrame:
    """Add the features of fitted models and of the date."""
    angle = 2 * np.pi * cutoff.timetuple().tm_yday / 365.25
    return frame.assign(
        **bgnbd_features(purchases, frame, horizon_days),
        **buying_state_features(buying, *counts),
        season_sin=np.sin(angle),
        season_cos=np.cos(angle),
    )


def _attach_labels(
    snapshot: Snapshot, lake: "Lake", history: _History, horizon_days: int, until: datetime
) -> Snapshot:
    """Add labels, return times and the observed season."""
    frame, cutoff, horizon = snapshot.frame, snapshot.cutoff, timedelta(days=horizon_days)
    first = days_to_next_purchase(lake, frame.customer_id, cutoff, cutoff + horizon)
    return_times, observed_horizons = first / horizon_days, 1.0
    if cutoff + 2 * horizon <= until:
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


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the customers for fits."""
    return frame[:: len(frame) // FIT_SAMPLE + 1]


def fit_purchases(frame: pd.DataFrame) -> bgnbd.BgNbd:
    """Fit how often customers order, in days."""
    if not len(frame):
        return bgnbd.BgNbd(1, 1, 1, 1)
    return bgnbd.fit(*purchase_history(_sample(frame)))


def _forecast_season(season: seasons.Season | None, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the forecast season features.

    Without a season these are the plain ones, which are also the observed ones.
    """
    if season is None:
        plain = {"season_ahead": 0.0, "season_no_purchase": frame.bg_no_purchase}
        return (
            {"season_alone": 0.0}
            | plain
            | {OBSERVED_SEASON[name]: value for name, value in plain.items()}
        )
    no_purchase = season.no_purchase(*purchase_history(frame))
    return {
        "season_ahead": season.faster,
        "season_alone": season.seasonal,  # of a reason; the model knows the growth as well
        "season_no_purchase": no_purchase,
    }


def _observed_season(snapshot: Snapshot, orders: seasons.DailyOrders) -> dict[str, Any]:
    """Return the season features as they turned out."""
    season = snapshot.season
    if season is None:
        return {}
    ahead, faster = seasons.observed_season(orders, season, snapshot.purchases)
    no_purchase = season.no_purchase(*purchase_history(snapshot.frame), ahead)
    return {"season_now": faster, "season_no_purchase_now": no_purchase}


def daily_orders(lake: "Lake", cutoff: datetime, label_days: int) -> seasons.DailyOrders:
    """Count first and repeat orders per day (UTC).

    `label_days`: days after the cutoff to include.
    """
    events = lake.table("events", before=cutoff + timedelta(days=label_days))
    bought = events.filter(events.event_type == "purchase")
    first_orders = bought.group_by("customer_id").agg(day=bought.occurred_at.min().date())
    first = first_orders.group_by("day").agg(customers=first_orders.count()).execute()
    day = bought.occurred_at.date()
    every = bought.group_by(day=day).agg(customers=bought.customer_id.nunique()).execute()
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


def fit_spend(frame: pd.DataFrame) -> gamma_gamma.GammaGamma | None:
    """Fit how much customers spend per order day; None without spend."""
    frame = _sample(frame)
    days = frame.order_days.to_numpy(dtype=float)
    mean = frame.spend_all.to_numpy(dtype=float) / np.maximum(days, 1)
    return gamma_gamma.fit(days, mean) if (mean > 0).any() else None


def days_to_next_purchase(
    lake: "Lake", customers: pd.Series, since: datetime, until: datetime
) -> np.ndarray:
    """Return the days until each customer's next purchase, (n,).

    `since`, `until`: window ``[since, until)``, timezone-aware.
    Returns: infinite without a purchase in the window.
    """
    events = lake.table("events", before=until, since=since)
    bought = events.filter(events.event_type == "purchase")
    first = bought.group_by("customer_id").agg(at=bought.occurred_at.min()).execute()
    start = pd.Timestamp(since.astimezone(UTC).replace(tzinfo=None))
    at = pd.to_datetime(first.set_index("customer_id")["at"])
    days = (at.reindex(customers) - start) / pd.Timedelta(days=1)
    return days.fillna(np.inf).to_numpy(dtype=float)
