"""Score customers: risk, reasons, expected spend, next order."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retention.churn.clauses import EvidenceTable
from retention.churn.lost_margin import list_columns
from retention.churn.model import TrainedChurn
from retention.churn.population import expected_spend, next_order, population
from retention.churn.reasons import SEASON_GROUP, complete_reasons, reasons, weights_by_group
from retention.churn.snapshots import Snapshot
from retention.progress import Progress, part, silent
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

COLUMNS = (
    "customer_id",
    "churn_probability",
    "reasons",
    "expected_value",
    "next_order_at",
    "lost_spend",
    "return_value",
    "silence_ratio",
)


def score(
    trained: TrainedChurn,
    lake: "Lake",
    as_of: datetime,
    *,
    customer_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Score the active customers, or the given ones.

    Parameters
    ----------
    trained : TrainedChurn
    lake : Lake
    as_of : datetime
        Timezone-aware.
    customer_ids : collection of str, optional
        Score these customers, active or not.
    progress : Progress

    Returns
    -------
    pandas.DataFrame
        One row per customer with `COLUMNS`. ``expected_value`` is the expected spend within one
        horizon if the customer stays: posterior purchase rate while alive (BG/NBD) × horizon ×
        expected spend per order day (Gamma-Gamma). Multiply it by the probability to get the spend
        at risk. ``next_order_at`` is the last order plus the usual gap. If that has passed, it is
        ``as_of`` plus the median wait of such customers while alive. The last three columns order
        lists (`retention.churn.lost_margin`).

    Raises
    ------
    TooLittleData
        If no customer was active.
    """
    scores, _ = score_with_evidence(
        trained, lake, as_of, customer_ids=customer_ids, progress=progress
    )
    return scores


def score_with_evidence(
    trained: TrainedChurn,
    lake: "Lake",
    as_of: datetime,
    *,
    customer_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> tuple[pd.DataFrame, EvidenceTable]:
    """Score as `score` does, and return the evidence as well.

    Parameters
    ----------
    trained : TrainedChurn
    lake : Lake
    as_of : datetime
    customer_ids : collection of str, optional
    progress : Progress

    Raises
    ------
    TooLittleData
        If no customer was active.
    """
    progress(0, 10, gettext("Features as of {day:%d %b %Y}").format(day=lake.local(as_of)))
    active = trained.active_within_days if customer_ids is None else None
    snapshot = population(lake, as_of, horizon_days=trained.horizon_days, active_within_days=active)
    value = expected_spend(snapshot, trained.horizon_days)
    if customer_ids is not None:
        selected = snapshot.frame.customer_id.isin(list(customer_ids)).to_numpy()
        snapshot, value = snapshot.rows(selected), value[selected]
    weight = exact_first_weights(trained, snapshot, value, progress)
    return score_table(trained, snapshot, value, weight), evidence_table(trained, snapshot, weight)


def probabilities(trained: TrainedChurn, lake: "Lake", as_of: datetime) -> dict[str, float]:
    """Return the churn probability of every customer who ever ordered, by id.

    Parameters
    ----------
    trained : TrainedChurn
    lake : Lake
    as_of : datetime
        Timezone-aware.

    Raises
    ------
    TooLittleData
        If nobody ever ordered.
    """
    everyone = population(lake, as_of, horizon_days=trained.horizon_days, active_within_days=None)
    chance = trained.predict(everyone)
    return dict(zip(everyone.frame.customer_id, map(float, chance), strict=True))


def evidence_table(
    trained: TrainedChurn, snapshot: Snapshot, weight: Mapping[str, np.ndarray]
) -> EvidenceTable:
    """Return the evidence of scored customers, from the same weights as their reasons.

    Parameters
    ----------
    trained : TrainedChurn
    snapshot : Snapshot
    weight : mapping
        Group → (n,) log-odds.
    """
    return EvidenceTable(
        snapshot.frame,
        _explained(snapshot, weight),
        dict(zip(trained.columns, trained.reference, strict=True)),
        trained.horizon_days,
    )


def _explained(snapshot: Snapshot, weight: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights that may be a reason.

    Before 13 months the season is none: the model cannot tell it from a trend.
    """
    has_season = snapshot.season is not None
    return {group: w for group, w in weight.items() if has_season or group != SEASON_GROUP}


def exact_first_weights(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """Return the group weights of each customer.

    If not all can be exact, those of the customers with most at stake are.

    Parameters
    ----------
    trained : TrainedChurn
    snapshot : Snapshot
    value : numpy.ndarray
        (n,) expected spend.
    progress : Progress

    Returns
    -------
    dict
        Group → (n,) log-odds.
    """
    X = snapshot.matrix(trained.columns)
    by_stake = np.argsort(-trained.probability(X) * value, kind="stable")
    sorted_weights = weights_by_group(trained, X[by_stake], progress=part(progress, 1, 3))
    original_order = np.argsort(by_stake)
    return {group: values[original_order] for group, values in sorted_weights.items()}


def score_table(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, weight: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Build the table of scores with reasons in words.

    Before 13 months the season is no reason: the model cannot tell it from a trend. Every customer
    has a reason in each direction; `retention.risk.reasons.reasons_for_tier` selects those of a
    tier.

    Parameters
    ----------
    trained : TrainedChurn
    snapshot : Snapshot
    value : numpy.ndarray
        (n,) expected spend.
    weight : dict
        Group → (n,) log-odds.
    """
    typical = dict(zip(trained.columns, trained.reference, strict=True))
    weight = _explained(snapshot, weight)
    horizon, chance = trained.horizon_days, trained.predict(snapshot)
    listed = reasons(snapshot.frame, weight, typical=typical, horizon_days=horizon)
    churn_rate = trained.parameters.get("train_churn_rate")
    return pd.DataFrame(
        {
            "customer_id": snapshot.frame.customer_id,
            "churn_probability": chance,
            "reasons": [
                complete_reasons(
                    reasons_of_one,
                    probability=float(probability),
                    churn_rate=churn_rate,
                    horizon_days=horizon,
                )
                for reasons_of_one, probability in zip(listed, chance, strict=True)
            ],
            "expected_value": value,
            "next_order_at": next_order(snapshot),
            **list_columns(snapshot, 1 - chance, horizon),
        }
    )
