"""Measure what training together adds for small shops: docs/data_scientist/federated.md.

``python -m tests.benchmarks.federated [tuning]``, in an environment with the extra ``privacy``. The
reported cutoffs when nothing is named; look at those to report, never to choose.

A household of the Complete Journey belongs to the store where it ordered most before the cutoff.
The sums are added without flwr and masks, which change them by less than 1e-9
(tests/retention/federation). With noise, a normal draw with the variance of all desks' replaces
theirs: it has a seed.
"""

import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from retention.churn.estimators import RFM, RFM_COLUMNS, Examples, fit_member
from retention.churn.evaluation.uncertainty import log_losses, paired_interval
from retention.churn.snapshots import buyers_frame, days_to_next_purchase
from retention.federation import logistic, noisy_sums, terms
from retention.federation.process import MOST_SHARE
from retention.lake import Lake
from retention.privacy import descent
from tests.benchmarks.accuracy import REPORTED, TUNING
from tests.benchmarks.measure import settings
from tests.benchmarks.models import home

HORIZON, ACTIVE, SNAPSHOTS, MIN_CUSTOMERS = 28, 56, 4, 15
MODELS = (
    *("alone", "alone, shrunk", "alone, RFM"),
    *("federated", "central", "vanished", "false size"),
)
EPSILONS, DRAWS = (0.5, 1.0, 2.0, 8.0), 20  # of the noise, of each cutoff
FEW = (3, 5, 10, 20, 40)  # the largest stores alone
NOISY = tuple(f"ε = {epsilon:g}" for epsilon in EPSILONS)
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


def with_noise(
    desk: Rows, people: pd.Series, desks: int, epsilon: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the weights of all desks' rows in one place, with the noise of so many desks."""
    X, y = desk
    customer = np.unique(people.astype(str), return_inverse=True)[1]
    scale = noisy_sums.share_scale(epsilon, desks, X.shape[1] + 1) * np.sqrt(desks)
    counts: list[float] = []

    def gradient(weights: np.ndarray) -> np.ndarray:
        exact = noisy_sums.customer_sum(weights, X, y, customer)
        drawn = scale * rng.standard_normal(len(exact))
        mean = noisy_sums.mean_gradient(exact + np.round(drawn).astype(np.int64), scale, counts)
        assert mean is not None
        return mean

    size, steps = X.shape[1], descent.terms(epsilon)["steps"]
    return noisy_sums.model_weights(descent.descend(size, steps, gradient))


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
    learned = pd.concat([history[history.store == store] for store in stores], ignore_index=True)
    rng = np.random.default_rng(35)
    noisy = {
        name: [
            with_noise(rows(learned), learned.customer_id, len(desks), epsilon, rng)
            for _ in range(DRAWS)
        ]
        for name, epsilon in zip(NOISY, EPSILONS, strict=True)
    }
    few = {number: few_desks(history, stores[:number], rng) for number in FEW}
    print(f"{cutoff:%Y-%m-%d}: {learned.customer_id.nunique()} customers of all desks", flush=True)
    result = []
    for store, desk in zip(stores, desks, strict=True):
        own = test[test.store == store]
        columns = {name: losses(weights, rows(own)) for name, weights in models.items()}
        for name, draws in noisy.items():
            each = np.array([losses(weights, rows(own)) for weights in draws])
            columns |= {name: each.mean(axis=0)}
            columns |= {f"{name}, draw {k}": each[k] for k in range(DRAWS)}
        for number, models_of in few.items():
            for name, draws in models_of.items() if store in stores[:number] else ():
                each = np.array([losses(weights, rows(own)) for weights in draws])
                columns |= {f"{name}, {number} desks": each.mean(axis=0)}
        columns |= alone(history[history.store == store], own)
        people = {"customer": own.customer_id.to_numpy(), "size": len(desk[1]), "cutoff": cutoff}
        result.append(pd.DataFrame({**people, **columns}))
    return result


def few_desks(
    history: pd.DataFrame, stores: list[str], rng: np.random.Generator
) -> dict[str, list[np.ndarray]]:
    """Return the weights of so few stores without noise, and draws of those with it."""
    learned = pd.concat([history[history.store == store] for store in stores], ignore_index=True)
    desk, people = rows(learned), learned.customer_id
    return {
        "federated": [trained([desk], [1.0])],
        **{
            name: [with_noise(desk, people, len(stores), epsilon, rng) for _ in range(DRAWS)]
            for name, epsilon in zip(NOISY, EPSILONS, strict=True)
        },
    }


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
    cutoffs = TUNING if "tuning" in sys.argv else REPORTED
    for day in cutoffs:
        desks += judged(lake, datetime.fromisoformat(day).replace(tzinfo=UTC))
    frame = pd.concat(desks, ignore_index=True)
    sizes = pd.Series([len(desk) for desk in desks])
    print(f"{len(desks) / len(cutoffs):.0f} desks a cutoff, {sizes.min()} to {sizes.max()} people")
    edges = frame["size"].quantile([0, 1 / 3, 2 / 3, 1]).to_numpy()
    for low, high in [*pairwise(edges), (0, np.inf)]:
        part = frame[(frame["size"] > low) & (frame["size"] <= high)]
        print(f"\n{low:.0f} to {high:.0f} rows, {len(part)} customers; against alone, RFM:")
        for name in (*MODELS, *NOISY):
            difference = (part[name] - part["alone, RFM"]).to_numpy()
            gap = paired_interval(difference, part.customer.to_numpy(dtype=object))
            interval = f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
            print(f"| {name} | {part[name].mean():.4f} | {interval} |{spread(part, name)}")
    for number in FEW:
        part = frame[frame[f"federated, {number} desks"].notna()]
        figures = [part[f"{name}, {number} desks"].mean() for name in ("federated", *NOISY)]
        people = len(part) / len(cutoffs)
        shown = " | ".join(f"{figure:.4f}" for figure in (part["alone, RFM"].mean(), *figures))
        print(f"| {number} desks, {people:.0f} people | {shown} |")


def spread(part: pd.DataFrame, name: str) -> str:
    """Return the standard deviation of the log-loss by draws of the noise alone, if there is any.

    Each draw has a model of its own at each cutoff.
    """
    if name not in NOISY:
        return ""
    each = [part[f"{name}, draw {k}"].groupby(part.cutoff).mean() for k in range(DRAWS)]
    table = pd.concat(each, axis=1)
    return f" at one cutoff ±{table.std(axis=1).mean():.4f}, worst {table.to_numpy().max():.4f} |"


if __name__ == "__main__":
    main()
