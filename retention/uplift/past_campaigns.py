"""Fit uplift models on past campaigns."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from retention.errors import TooLittleData
from retention.features import NAMES, build
from retention.lake.lake import naive
from retention.lake.storage.delta_store import to_frame
from retention.progress import Progress, silent
from retention.uplift.evaluation import calibration_slope, select_learner, sequential_gain
from retention.uplift.experiment import Experiment
from retention.uplift.learners import LEARNERS, UpliftLearner
from retention.uplift.offer_effects import OfferModels, fit_offer_models, offer_kind
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_CAMPAIGNS = 12  # the newest ones
MIN_HELD_OUT = 100  # customers in all campaigns together
EXCLUDED_FEATURES = ("campaigns_4h", "campaign_recency")  # earlier campaigns; equal in both arms

Status = Literal["learnt", "none", "small", "indistinct", "failed"]


@dataclass(frozen=True, slots=True)
class UpliftPrediction:
    """Hold predicted uplift of (n,) customers.

    `by_offer`: `offer_kind` → (n,), for offers with different effects; NaN for customers without
    support.
    """

    pooled: np.ndarray
    by_offer: dict[str, np.ndarray] = field(default_factory=dict)

    def of(self, rows: np.ndarray) -> "UpliftPrediction":
        """Return the predictions of some customers, by their positions."""
        offers = {kind: uplift[rows] for kind, uplift in self.by_offer.items()}
        return UpliftPrediction(self.pooled[rows], offers)


@dataclass(frozen=True, slots=True)
class UpliftModel:
    """Hold a fitted uplift model.

    Without one, ``why`` is the reason.

    `why`: ``learnt``; ``none`` (no campaign with a hold-out), ``small`` (too few customers),
    ``indistinct`` (no ranking differs from chance) or ``failed`` (an error, see the log).
    `qini`, `qini_low`, `qini_high`: `sequential_gain` validation with its 95% interval.
    `learner`: none unless ``learnt``.
    `mean`, `slope`: predictions are shrunk to ``mean`` by ``slope``, as far as they were too
    extreme out of fold.
    """

    why: Status
    campaigns: int = 0
    customers: int = 0
    name: str = ""
    qini: float | None = None
    qini_low: float | None = None
    qini_high: float | None = None
    learner: UpliftLearner | None = None
    mean: float = 0.0
    slope: float = 1.0
    offers: OfferModels | None = None

    def predict(
        self, lake: "Lake", customers: pd.Series, at: datetime, horizon_days: int
    ) -> UpliftPrediction:
        """Predict the uplift of ordering per customer. The order must fall within the horizon."""
        if self.learner is None:
            raise ValueError("past campaigns do not tell whom an offer moves")
        features = _features_before(lake, customers, at, horizon_days)
        pooled = self.mean + self.slope * (self.learner.predict(features) - self.mean)
        return UpliftPrediction(pooled, self.offers.predict(features) if self.offers else {})


def fit_uplift(
    lake: "Lake",
    before: datetime,
    *,
    window_days: int,
    excluded: Collection[str] = (),
    progress: Progress = silent,
) -> UpliftModel:
    """Fit an uplift model on finished campaigns.

    `window_days`: days after sending in which an order counts, unless the treatment's own
    ``purchased`` is set.
    """
    data = load_campaigns(lake, before, window_days=window_days, excluded=excluded)
    return UpliftModel("none") if data is None else fit_experiment(*data, progress=progress)


def fit_experiment(
    trial: Experiment, kinds: np.ndarray, campaigns: int, *, progress: Progress = silent
) -> UpliftModel:
    """Fit an uplift model on what `load_campaigns` returns."""
    small = UpliftModel("small", campaigns, len(trial.outcome))
    if (trial.treated == 0).sum() < MIN_HELD_OUT:
        return small
    if trial.features.empty:  # all customers are alike
        return replace(small, why="indistinct")
    try:
        gain = sequential_gain(trial, progress=progress)
    except TooLittleData:
        return small
    mean, low, high = gain.mean, gain.low, gain.high
    validated = replace(small, why="indistinct", qini=mean, qini_low=low, qini_high=high)
    if gain.low <= 0:
        return validated
    name, predicted = select_learner(trial, progress=progress)
    learner = LEARNERS[name]().fit(trial.features, trial.outcome, trial.treated, trial.propensity)
    return replace(
        validated,
        why="learnt",
        name=name,
        learner=learner,
        mean=float(predicted.mean()),
        slope=calibration_slope(trial, predicted),
        offers=fit_offer_models(trial, kinds, name),
    )


def load_campaigns(
    lake: "Lake", before: datetime, *, window_days: int, excluded: Collection[str] = ()
) -> tuple[Experiment, np.ndarray, int] | None:
    """Load finished campaigns as one experiment.

    The newest campaigns with both arms are used.

    Returns: `offer_kind` of each treated customer's offer; empty for the others.

    Notes
    -----
    Features are those at the time of sending. The propensity is each campaign's share of treated,
    since treatment is randomised within a campaign. Customers in both arms, by ids that were merged
    later, are excluded.
    """
    latest_start = before - timedelta(days=window_days)
    sent = lake.table("treatments", before=before).execute()
    sent["kind"] = ""
    if "offer" in sent:
        sent["kind"] = sent["offer"].map(_lake_offer_kind).where(sent["arm"] == "treatment", "")
    is_over = sent["sent_at"] <= pd.Timestamp(naive(latest_start))
    sent = sent[is_over & ~sent["campaign_id"].isin(excluded)]
    key = ["campaign_id", "customer_id"]
    sent = sent[sent.groupby(key)["arm"].transform("nunique") == 1].drop_duplicates(key)
    arms = sent.groupby("campaign_id").agg(arms=("arm", "nunique"), at=("sent_at", "min"))
    names = arms[arms["arms"] == 2].sort_values("at").index[-MAX_CAMPAIGNS:]
    if names.empty:
        return None
    by_campaign = [sent[sent["campaign_id"] == name] for name in names]
    parts = [_campaign_data(lake, rows, before, window_days) for rows in by_campaign]
    features, outcome, treated, share = zip(*parts, strict=True)
    table = pd.concat(features, ignore_index=True)
    varied = [name for name in table.columns if table[name].nunique() > 1]
    outcomes, arms, shares = map(np.concatenate, (outcome, treated, share))
    trial = Experiment(table[varied], outcomes, arms, shares)
    return trial, np.concatenate([rows["kind"].to_numpy(str) for rows in by_campaign]), len(names)


def _lake_offer_kind(offer: Any) -> str:
    """Return the kind of a stored offer. Imported offers may have any format."""
    try:
        parsed = json.loads(offer)
        return offer_kind(parsed) if isinstance(parsed, dict) else ""
    except (TypeError, ValueError):
        return ""


def _campaign_data(
    lake: "Lake", rows: pd.DataFrame, before: datetime, window_days: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Return one campaign's experiment data.

    These are features, outcome, arm and propensity of its customers.
    """
    at = rows["sent_at"].min().tz_localize("UTC").to_pydatetime()
    end = min(at + timedelta(days=window_days), before)
    treated = (rows["arm"] == "treatment").to_numpy(float)
    events = lake.table("events", before=end, since=at)
    purchases = events.filter(events.event_type == "purchase")
    buyers = purchases.select("customer_id").distinct().execute()
    outcome = rows["customer_id"].isin(buyers["customer_id"])
    if "purchased" in rows:
        outcome = rows["purchased"].astype("boolean").fillna(outcome)
    features = _features_before(lake, rows["customer_id"], at, window_days)
    return features, outcome.to_numpy(float), treated, np.full(len(rows), treated.mean())


def _features_before(
    lake: "Lake", customers: pd.Series, at: datetime, horizon_days: int
) -> pd.DataFrame:
    """Compute features (n, k) before a moment.

    They are in the order of the customers. Customers without an earlier order have missing values.
    """
    names = [name for name in NAMES if name not in EXCLUDED_FEATURES]
    built = build(lake, at, window=Window(horizon_days, None), names=names)
    by_customer = to_frame(built).set_index("customer_id")
    return by_customer.reindex(customers)[names].astype(float).reset_index(drop=True)
