"""Measure what training together adds for small shops: docs/data_scientist/federated.md.

``python -m tests.benchmarks.federated``. A household of the Complete Journey belongs to the store
where it ordered most before the cutoff. The sums are added without flwr and masks, which change
them by less than 1e-9 (tests/retention/federation).
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from retention.churn.estimators import RFM, RFM_COLUMNS, Examples, fit_member
from retention.churn.evaluation.uncertainty import log_losses, paired_interval
from retention.churn.snapshots import buyers_frame, days_to_next_purchase
from retention.federation import logistic, terms
from retention.federation.process import MOST_SHARE
from retention.lake import Lake
from tests.benchmarks.accuracy import REPORTED
from tests.benchmarks.measure import settings
from tests.benchmarks.models import home

HORIZON, ACTIVE, SNAPSHOTS, MIN_CUSTOMERS = 28, 56, 4, 15
MODELS = (
    *("alone", "alone, shrunk", "alone, RFM"),
    *("federated", "central", "vanished", "false size"),
)
Rows = tuple[np.ndarray, np.ndarray]


def snapshot(lake: Lake, cutoff: datetime) -> pd.DataFrame:
    """Return active customers with features and label."""
    frame = buyers_frame(lake, cutoff, HORIZON, (*terms.FEATURES, "basket_mean"))
    frame = frame[frame.recency_days <= ACTIVE].reset_index(drop=True)
    end = cutoff + timedelta(days=HORIZON)
    days = days_to_next_purchase(lake, frame.customer_id, cutoff, end)
    return frame.assign(churned=np.isinf(days).astype(float))


def rows(frame: pd.DataFrame) -> Rows:
    """Return the columns of the regression and labels."""
    X = frame[list(terms.FEATURES)].to_numpy(dtype=float, na_value=np.nan)
    return terms.prepared(X), frame.churned.to_numpy()


def trained(desks: list[Rows], parts: list[float]) -> np.ndarray:
    """Return the weights of the desks' weighted mean."""
    weights = np.zeros(desks[0][0].shape[1])
    for _ in range(25):
        pairs = zip(parts, desks, strict=True)
        vector = np.sum([part * logistic.objective(weights, *desk) for part, desk in pairs], axis=0)
        weights = logistic.newton_step(weights, vector)
    return weights


def by_size(desks: list[Rows], most: float) -> np.ndarray:
    """Return the weights of desks that count by their rows, up to `most` medians."""
    return trained(desks, logistic.shares([len(y) for _, y in desks], most))


def losses(weights: np.ndarray, desk: Rows) -> np.ndarray:
    """Return the log-loss of each customer."""
    X, y = desk
    return log_losses(y, np.clip(1 / (1 + np.exp(-X @ weights)), 5e-4, 1 - 5e-4))


def judged(lake: Lake, cutoff: datetime) -> list[pd.DataFrame]:
    """Return a frame of each desk: its customers' losses under each model."""
    events = lake.table("events", before=cutoff)
    bought = events.filter(events.event_type == "purchase")
    counted = bought.group_by(["customer_id", "store"]).agg(n=bought.count()).execute()
    home_store = counted.sort_values(["n", "store"]).groupby("customer_id").store.last()
    moments = [cutoff - timedelta(days=HORIZON * number) for number in range(1, SNAPSHOTS + 1)]
    history = pd.concat([snapshot(lake, moment) for moment in moments], ignore_index=True)
    test = snapshot(lake, cutoff)
    for frame in (history, test):
        frame["store"] = frame.customer_id.map(home_store)
    counts = test.store.value_counts()
    stores = list(counts[counts >= MIN_CUSTOMERS].index)
    desks = [rows(history[history.store == store]) for store in stores]
    pooled = tuple(np.concatenate(parts) for parts in zip(*desks, strict=True))
    liar = logistic.shares([10**9, *(len(y) for _, y in desks[1:])], MOST_SHARE)
    models = {
        "federated": by_size(desks, MOST_SHARE),
        "central": trained([pooled], [1.0]),
        "vanished": by_size(desks[1:], MOST_SHARE),
        "false size": trained(desks, liar),
    }
    result = []
    for store, desk in zip(stores, desks, strict=True):
        own = test[test.store == store]
        columns = {name: losses(weights, rows(own)) for name, weights in models.items()}
        columns |= alone(history[history.store == store], own)
        people = {"customer": own.customer_id.to_numpy(), "size": len(desk[1])}
        result.append(pd.DataFrame({**people, **columns}))
    return result


def alone(history: pd.DataFrame, own: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return losses of what a desk can learn from its own rows: the desk's plainest model too."""
    desk, test = rows(history), rows(own)
    X, other = (one[list(RFM_COLUMNS)].to_numpy(dtype=float) for one in (history, own))
    plain = fit_member(RFM, Examples(X, desk[1], columns=RFM_COLUMNS)).predict_proba(other)[:, 1]
    shrunk = LogisticRegression(C=0.03, max_iter=2000).fit(desk[0][:, 1:], desk[1])
    return {
        "alone": losses(trained([desk], [1.0]), test),
        "alone, shrunk": log_losses(test[1], shrunk.predict_proba(test[0][:, 1:])[:, 1]),
        "alone, RFM": log_losses(test[1], np.clip(plain, 5e-4, 1 - 5e-4)),
    }


def main() -> None:
    """Print a table of all cutoffs."""
    home()
    lake = Lake.open(settings())
    desks = []
    for day in REPORTED:
        desks += judged(lake, datetime.fromisoformat(day).replace(tzinfo=UTC))
    frame = pd.concat(desks, ignore_index=True)
    sizes = pd.Series([len(desk) for desk in desks])
    print(f"{len(desks) / len(REPORTED):.0f} desks a cutoff, {sizes.min()} to {sizes.max()} people")
    edges = frame["size"].quantile([0, 1 / 3, 2 / 3, 1]).to_numpy()
    for low, high in [*pairwise(edges), (0, np.inf)]:
        part = frame[(frame["size"] > low) & (frame["size"] <= high)]
        print(f"\n{low:.0f} to {high:.0f} rows, {len(part)} customers; against alone, RFM:")
        for name in MODELS:
            difference = (part[name] - part["alone, RFM"]).to_numpy()
            gap = paired_interval(difference, part.customer.to_numpy(dtype=object))
            interval = f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
            print(f"| {name} | {part[name].mean():.4f} | {interval} |")


if __name__ == "__main__":
    main()
