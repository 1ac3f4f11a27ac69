"""The rules rung: recency and frequency by rank, where there is no model or too little data for one.

A rank is no probability; the output says ``"model_version": "rules"`` wherever these are shown.
"""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from retention.churn.ladder import BUYERS_FOR_A_MODEL
from retention.churn.reasons import silence
from retention.churn.score import next_order, population, worth

VERSION = "rules"
# Only the longest silence reaches `high`, and it does so alone.
RECENCY, FREQUENCY = 0.5, 0.12
SILENT, SELDOM = 4, 2  # quintiles that are named as reasons


def score(
    lake: Any, as_of: datetime, *, horizon_days: int = 28, active_within_days: int | None = 56
) -> tuple[pd.DataFrame, int]:
    """Scores by RFM quintiles, with the columns of `retention.churn.score`, and how many ever bought.

    The churn score is ``0.5 · (R − 1) / 4 + 0.12 · (5 − F) / 4``; R = 5 is the longest silence, F = 5 the most orders.

    Raises
    ------
    TooLittleData
        Where nobody was active.
    """
    snapshot = population(lake, as_of, horizon_days=horizon_days, active_within_days=active_within_days)
    frame = snapshot.frame
    silent, often = quintile(frame.recency_days), quintile(frame.orders_all)
    risk = RECENCY * (silent - 1) / 4 + FREQUENCY * (5 - often) / 4
    told = [
        _reasons(row, int(r), int(f), horizon_days)
        for row, r, f in zip(frame.to_dict("records"), silent, often, strict=True)
    ]
    scores = pd.DataFrame(
        {
            "customer_id": frame.customer_id,
            "churn_probability": risk,
            "reasons": told,
            "expected_value": worth(snapshot, horizon_days),
            "next_order_at": next_order(snapshot),
        }
    )
    return scores, snapshot.buyers


def rung(buyers: int) -> str:
    """Where the rules stand, and what a model needs."""
    if buyers < BUYERS_FOR_A_MODEL:
        return f"Rules (RFM); a model needs {BUYERS_FOR_A_MODEL} buyers (have {buyers})."
    return "Rules (RFM): there is no model yet; `/retention retrain` makes one."


def quintile(values: pd.Series) -> np.ndarray:
    """1 … 5 by rank, (n,); equal values share a quintile."""
    return np.ceil(values.rank(pct=True, method="average").to_numpy() * 5).clip(1, 5)


def _reasons(row: dict[str, Any], silent: int, often: int, horizon_days: int) -> list[dict[str, Any]]:
    found = []
    if silent >= SILENT:
        weight = round(RECENCY * (silent - 1) / 4, 3)
        found.append({"feature": "recency", "text": silence(row, horizon_days), "weight": weight})
    if often <= SELDOM:
        text = f"{row['orders_all']:.0f} orders ever, fewer than most"
        found.append({"feature": "frequency", "text": text, "weight": round(FREQUENCY * (5 - often) / 4, 3)})
    return sorted(found, key=lambda reason: -reason["weight"])
