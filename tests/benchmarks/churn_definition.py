"""``python -m tests.benchmarks.churn_definition``: does the derived definition fit its shop?

Prints two Markdown tables. The first has the derived definition of each shop, with the share of
active customers who churn by it and by the default of 28 and 56 days. The second compares the
rules, and the high tier before and after they got minimum silences, with BG/NBD and the outcome.
"""

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from retention.churn.snapshots import take_snapshot
from retention.features.order_rhythm import derive_definition, order_rhythm
from retention.lake import Lake
from retention.risk import rules
from retention.window import Window
from tests import shops

HIGH = 0.5  # of the default policy
DEFAULT = (28, 56)


def _shop(
    customers: int, gap: float, shape: float, days: int, life: float, spread: float, seed: int
) -> pd.DataFrame:
    """Order lines of customers with a usual gap (days, log-normal) who stop after a time."""
    rng = np.random.default_rng(seed)
    joined = np.where(rng.random(customers) < 0.3, 0, rng.uniform(0, days, customers))
    rate = 1 / (gap * np.exp(rng.normal(0, spread, customers)))
    lapses = joined + rng.exponential(life, customers)
    return shops._events(rng, joined, lapses, rate, days, shape=shape)


SHOPS: dict[str, tuple[Callable[[], pd.DataFrame], int]] = {
    "gift shop": (shops.gifts, 730),
    "CD shop": (shops.discs, 545),
    "online grocer": (shops.groceries, 425),
    "superstore": (lambda: _shop(800, 150, 1.5, 1050, 3000, 0.3, 1), 1050),
    "coffee machine": (lambda: _shop(120, 5, 1.2, 380, 200, 0.6, 2), 380),
    "fashion": (lambda: _shop(2000, 60, 1.0, 730, 300, 0.7, 3), 730),
    "pet food": (lambda: _shop(1500, 35, 4.0, 500, 400, 0.3, 4), 500),
    "pharmacy": (lambda: _shop(1200, 25, 2.0, 600, 500, 0.6, 5), 600),
    "furniture": (lambda: _shop(1500, 300, 2.0, 1050, 3000, 0.3, 6), 1050),
}
COMPARED = ("gift shop", "CD shop", "online grocer", "superstore", "fashion", "pet food")


def lakes() -> Iterator[tuple[str, Lake, int]]:
    """Each shop's name, lake and days."""
    for name, (generate, days) in SHOPS.items():
        with tempfile.TemporaryDirectory() as folder:
            yield name, shops.lake(Path(folder), generate()), days


def definition_row(name: str, lake: Lake, days: int) -> str:
    """One shop's derived definition, and how many churn by it and by the default."""
    end = shops.end(days)
    rhythm = order_rhythm(lake, end)
    derived = derive_definition(rhythm)
    shares = []
    for horizon, active in ((derived.horizon_days, derived.active_within_days), DEFAULT):
        snapshot = take_snapshot(
            lake, end - timedelta(days=horizon), window=Window(horizon, active)
        )
        shares.append(f"{snapshot.labels.mean():.2f} of {len(snapshot.labels):,}")
    return (
        f"| {name} | {rhythm.quantile(0.5):.0f} | {rhythm.quantile(0.8):.0f} "
        f"| {derived.horizon_days} / {derived.active_within_days} | {shares[0]} | {shares[1]} |"
    )


def rules_row(name: str, lake: Lake, days: int) -> str:
    """One shop's rules against BG/NBD and the outcome, at one cutoff."""
    derived = derive_definition(order_rhythm(lake, shops.end(days)))
    horizon, active = derived.horizon_days, derived.active_within_days
    cutoff = shops.end(days) - timedelta(days=horizon)
    truth = take_snapshot(lake, cutoff, window=Window(horizon, active))
    churned = pd.Series(truth.labels, index=truth.frame.customer_id)
    scores, *_ = rules.score(lake, cutoff, window=Window(horizon, active))
    risk = scores.set_index("customer_id").churn_probability.reindex(churned.index)
    silent = rules.quintile(truth.frame.recency_days, truth.frame.recency_days)
    often = rules.quintile(truth.frame.orders_all, truth.frame.orders_all)
    before = rules.RECENCY * (silent - 1) / 4 + rules.FREQUENCY * (5 - often) / 4
    cells = [f"{churned.mean():.2f}"]
    for score in (before, risk.to_numpy()):
        high = score >= HIGH
        right = f"{churned.to_numpy()[high].mean():.2f}" if high.any() else "–"
        cells += [f"{roc_auc_score(churned, score):.3f}", f"{high.sum():,} ({right})"]
    cells.append(f"{roc_auc_score(churned, truth.frame.bg_no_purchase):.3f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print both tables."""
    definitions, comparisons = [], []
    for name, lake, days in lakes():
        definitions.append(definition_row(name, lake, days))
        if name in COMPARED:
            comparisons.append(rules_row(name, lake, days))
    print("| shop | median gap | 80 % of returns | horizon / active | churned | by 28 / 56 |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(definitions))
    print("\n| shop | churned | AUC before | high before | AUC | high | AUC of BG/NBD |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(comparisons))


if __name__ == "__main__":
    main()
