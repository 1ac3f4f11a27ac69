"""Past campaigns as one experiment: treatments and outcomes of the lake become the next uplift model's training data."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd

from retention.errors import TooLittleData
from retention.features import NAMES, build
from retention.lake.lake import naive
from retention.lake.store import to_frame
from retention.progress import Progress, silent
from retention.uplift.evaluate import best, calibration
from retention.uplift.learners import LEARNERS, UpliftLearner
from retention.uplift.offers import Offers, kind, tell_apart
from retention.uplift.table import Experiment
from retention.uplift.validation import sequential

NEWEST = 12  # campaigns that are learnt from
LEAST_HELD_OUT = 100  # customers of all of them together
TREATED = (
    "campaigns_4h",
    "campaign_recency",
)  # features that tell who had a campaign before; arms do not differ in them

Why = Literal["learnt", "none", "small", "indistinct"]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Uplift of (n,) customers: by an offer like the past ones, and by each offer that they tell apart.

    ``by_offer``: `kind` → (n,), NaN for customers like whom hardly anybody got it.
    """

    pooled: np.ndarray
    by_offer: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Uplift:
    """What past campaigns teach of whom an offer moves.

    ``learner`` is None where they do not: there are none with a hold-out (``none``), too few customers in them
    (``small``), or no ranking can be told from chance (``indistinct``). ``qini`` is that of `sequential` validation, with
    its 95 % interval; ``slope`` draws predictions towards their ``mean`` as far as they proved too bold out of fold.
    ``offers`` are told apart where the past allows it; else None, and all are one.
    """

    why: Why
    campaigns: int = 0
    customers: int = 0
    name: str = ""
    qini: float | None = None
    qini_low: float | None = None
    qini_high: float | None = None
    learner: UpliftLearner | None = None
    mean: float = 0.0
    slope: float = 1.0
    offers: Offers | None = None

    def predict(
        self, lake: Any, customers: pd.Series, at: datetime, horizon_days: int
    ) -> Predicted:
        """Uplift of P(order within the horizon) of each of (n,) customer ids, by what was known before ``at``."""
        if self.learner is None:
            raise ValueError("past campaigns do not tell whom an offer moves")
        known = _known(lake, customers, at, horizon_days)
        pooled = self.mean + self.slope * (self.learner.predict(known) - self.mean)
        return Predicted(pooled, self.offers.predict(known) if self.offers else {})


def learn(
    lake: Any,
    before: datetime,
    *,
    window_days: int,
    without: Collection[str] = (),
    progress: Progress = silent,
) -> Uplift:
    """Learn from the campaigns whose windows are over before a moment.

    Parameters
    ----------
    lake : Lake
    before : datetime
        Nothing at or after it is seen.
    window_days : int
        How long after sending an order counts, where the treatment's own ``purchased`` does not say.
    without : collection of str
        Ids of campaigns that nothing is to be learnt from.
    """
    found = past(lake, before, window_days=window_days, without=without)
    if found is None:
        return Uplift("none")
    trial, kinds, campaigns = found
    small = Uplift("small", campaigns, len(trial.outcome))
    if (trial.treated == 0).sum() < LEAST_HELD_OUT:
        return small
    try:
        gain = sequential(trial, progress=progress)
    except TooLittleData:
        return small
    tried = replace(small, why="indistinct", qini=gain.mean, qini_low=gain.low, qini_high=gain.high)
    if gain.low <= 0:
        return tried
    name, predicted = best(trial, progress=progress)
    learner = LEARNERS[name]().fit(trial.features, trial.outcome, trial.treated, trial.propensity)
    return replace(
        tried,
        why="learnt",
        name=name,
        learner=learner,
        mean=float(predicted.mean()),
        slope=calibration(trial, predicted),
        offers=tell_apart(trial, kinds, name),
    )


def past(
    lake: Any, before: datetime, *, window_days: int, without: Collection[str] = ()
) -> tuple[Experiment, np.ndarray, int] | None:
    """The newest campaigns with both arms and a window that is over, as one experiment; the `kind` of each treated
    customer's offer, (n,), empty for the others; and how many campaigns they are.

    Notes
    -----
    Features are those of the moment of sending; the propensity is each campaign's share of treated, for arms are drawn
    within it. Who was in both arms, by ids that were merged since, is left out.
    """
    over = before - timedelta(days=window_days)
    sent = lake.table("treatments", before=before).execute()
    sent["kind"] = (
        sent["offer"].map(_kind).where(sent["arm"] == "treatment", "") if "offer" in sent else ""
    )
    sent = sent[(sent["sent_at"] <= pd.Timestamp(naive(over))) & ~sent["campaign_id"].isin(without)]
    one = ["campaign_id", "customer_id"]
    sent = sent[sent.groupby(one)["arm"].transform("nunique") == 1].drop_duplicates(one)
    arms = sent.groupby("campaign_id").agg(arms=("arm", "nunique"), at=("sent_at", "min"))
    names = arms[arms["arms"] == 2].sort_values("at").index[-NEWEST:]
    if names.empty:
        return None
    each = [sent[sent["campaign_id"] == name] for name in names]
    parts = [_one(lake, rows, before, window_days) for rows in each]
    features, outcome, treated, share = zip(*parts, strict=True)
    table = pd.concat(features, ignore_index=True)
    varied = [name for name in table.columns if table[name].nunique() > 1]
    trial = Experiment(
        table[varied], np.concatenate(outcome), np.concatenate(treated), np.concatenate(share)
    )
    return trial, np.concatenate([rows["kind"].to_numpy(str) for rows in each]), len(names)


def _kind(offer: Any) -> str:
    """An offer's kind as the lake keeps it; whoever imported it may have written it in words of their own."""
    try:
        told = json.loads(offer)
        return kind(told) if isinstance(told, dict) else ""
    except (TypeError, ValueError):
        return ""


def _one(
    lake: Any, rows: pd.DataFrame, before: datetime, window_days: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Features, outcome, arm and propensity of one campaign's customers."""
    at = rows["sent_at"].min().tz_localize("UTC").to_pydatetime()
    end = min(at + timedelta(days=window_days), before)
    treated = (rows["arm"] == "treatment").to_numpy(float)
    events = lake.table("events", before=end, since=at)
    buyers = (
        events.filter(events.event_type == "purchase").select("customer_id").distinct().execute()
    )
    ordered = rows["customer_id"].isin(buyers["customer_id"])
    told = (
        rows["purchased"].astype("boolean") if "purchased" in rows else pd.Series(pd.NA, rows.index)
    )
    outcome = told.fillna(ordered).to_numpy(float)
    return (
        _known(lake, rows["customer_id"], at, window_days),
        outcome,
        treated,
        np.full(len(rows), treated.mean()),
    )


def _known(lake: Any, customers: pd.Series, at: datetime, horizon_days: int) -> pd.DataFrame:
    """(n, k) features before a moment, in the customers' order; missing for who had not ordered yet."""
    names = [name for name in NAMES if name not in TREATED]
    frame = to_frame(
        build(lake, at, horizon_days=horizon_days, active_within_days=None, names=names)
    )
    return (
        frame.set_index("customer_id")
        .reindex(customers)[names]
        .astype(float)
        .reset_index(drop=True)
    )
