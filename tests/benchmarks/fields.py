"""``python -m tests.benchmarks.fields``: subscriptions and courses, against a count by pandas.

Prints a Markdown table: figures, churn and accuracy over three cutoffs of the two made-up shops.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from retention.churn.evaluation.evaluate import Evaluation, evaluate_at
from retention.churn.snapshots import take_baseline_snapshot
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.suggesting.field_files import propose_field_files
from retention.progress import silent
from retention.registry.churn_definition import ChurnDefinition, derive_from
from retention.settings import Settings
from retention.window import Means, Window
from tests import field_shops

ORIGINS, DRAWS = 3, 1000
SHOPS: dict[str, tuple[Callable[[Path, int], field_shops.FieldShop], int]] = {
    "subscription box": (field_shops.subscription_box, 540),
    "course platform": (field_shops.course_platform, 365),
}


@dataclass(frozen=True)
class ReadShop:
    """A made-up shop, read by the maps that are proposed for its exports."""

    lake: Lake
    events: pd.DataFrame
    definition: ChurnDefinition
    end: datetime

    @property
    def cutoffs(self) -> list[datetime]:
        """Cutoffs with label windows that end before the data does, and do not overlap."""
        horizon = timedelta(days=self.definition.horizon_days)
        return [self.end - horizon * number for number in range(1, ORIGINS + 1)]

    def churned(self, cutoff: datetime) -> pd.Series:
        """Count by pandas who is active at a cutoff, and whether they churned: 0 or 1 by id."""
        at = pd.Timestamp(cutoff).tz_localize(None)
        horizon, active = (
            pd.Timedelta(days=self.definition.horizon_days),
            pd.Timedelta(days=self.definition.active_within_days or 10_000),
        )
        last = self.events[self.events["at"] < at].groupby("customer")["at"].max()
        customers = last[last >= at - active].index
        after = self.events[(self.events["at"] >= at) & (self.events["at"] < at + horizon)]
        return pd.Series((~customers.isin(after.customer)).astype(float), index=customers)


def read(name: str, folder: Path, customers: int = 900, *, sales_only: bool = False) -> ReadShop:
    """Write a shop's exports and import them as `retention start` does."""
    write, days = SHOPS[name]
    shop = write(folder, customers)
    settings = Settings(home=folder / "home", _env_file=None)
    lake = Lake.open(settings)
    means: Means | None = None
    files = shop.files[:1] if sales_only else shop.files
    for number, (names, proposal) in enumerate(propose_field_files(lake, files)):
        path = folder / f"{number}.toml"
        path.write_text(proposal.text, encoding="utf-8")
        means = import_files(lake, None, settings, "events", names, path).means or means
    end = (field_shops.BEGIN + pd.Timedelta(days=days)).to_pydatetime().replace(tzinfo=UTC)
    return ReadShop(lake, shop.events, derive_from(lake, means or "order"), end)


def take_labels(shop: ReadShop, cutoff: datetime, window: Window) -> pd.Series:
    """Return the desk's own labels: 0 or 1 by customer."""
    snapshot = take_baseline_snapshot(shop.lake, cutoff, window)
    index = [*map(str, snapshot.frame.customer_id)]
    return pd.Series(snapshot.labels, index=index).sort_index()


def evaluations(shop: ReadShop) -> list[Evaluation]:
    """Evaluate the default recipe at each cutoff."""
    window = shop.definition.window
    return [evaluate_at(shop.lake, cutoff, window, "auto", silent) for cutoff in shop.cutoffs]


def auc_gain(found: list[Evaluation]) -> tuple[float, float, float]:
    """Return the mean AUC over recency alone, with a 95% interval by bootstrap of customers."""
    names = np.unique(np.concatenate([each.test.frame.customer_id for each in found]).astype(str))
    random = np.random.default_rng(0)
    gains = []
    for draw in range(DRAWS + 1):
        times = random.multinomial(len(names), np.full(len(names), 1 / len(names)))
        weights = pd.Series(times if draw else 1, index=names)
        gains.append(
            np.mean(
                [
                    _auc(each, each.probabilities, weights)
                    - _auc(each, each.baselines["recency"], weights)
                    for each in found
                ]
            )
        )
    low, high = np.quantile(gains[1:], [0.025, 0.975])
    return float(gains[0]), float(low), float(high)


def _auc(found: Evaluation, probabilities: np.ndarray, weights: pd.Series) -> float:
    rows = weights[found.test.frame.customer_id.astype(str)].to_numpy()
    return float(roc_auc_score(found.test.labels, probabilities, sample_weight=rows))


def main() -> None:
    """Print the table."""
    print("| shop | files | churn | customers | churned | AUC | recency alone | gain |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, sales_only in (
        ("subscription box", True),
        ("subscription box", False),
        ("course platform", False),
    ):
        with tempfile.TemporaryDirectory() as folder:
            shop = read(name, Path(folder), sales_only=sales_only)
            found = evaluations(shop)
            labels = np.concatenate([each.test.labels for each in found])
            auc = np.mean([each.metrics["auc"] for each in found])
            alone = np.mean(
                [roc_auc_score(each.test.labels, each.baselines["recency"]) for each in found]
            )
            gain, low, high = auc_gain(found)
            days = f"{shop.definition.horizon_days} / {shop.definition.active_within_days}"
            files = "sales" if sales_only else "sales and activity"
            print(
                f"| {name} | {files} | {days} | {len(labels):,} | {labels.mean():.2f} | {auc:.3f} "
                f"| {alone:.3f} | {gain:.3f} ({low:.3f} to {high:.3f}) |"
            )


if __name__ == "__main__":
    main()
