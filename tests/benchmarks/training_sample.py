"""``python -m tests.benchmarks.training_sample``: what a sample of customers costs a churn model.

A made-up shop of 200,000 customers. A model of all rows and models of samples are trained alike
and judged at one later cutoff. The product's sample has the lowest hashes; the others are as large
and show how much the choice of customers matters by itself.
"""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sklearn.metrics import roc_auc_score

from retention.churn import snapshots
from retention.churn.evaluation.uncertainty import log_losses, paired_interval
from retention.churn.model import fit
from retention.churn.training_set import TrainingSet, build_training_set
from retention.lake import Lake
from retention.window import Window
from tests.benchmarks.large import bring, write_file
from tests.benchmarks.measure import settings

EVENTS, EACH, DAYS = 4_000_000, 20, 300
WINDOW = Window(56, 112)
CUTOFF = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=DAYS - WINDOW.horizon_days)
MOST, SAMPLES, DRAWS = snapshots.MAX_TRAINING, 3, 200


def sampled(training: TrainingSet, number: int) -> TrainingSet:
    """Keep as many customers as the product does; sample 0 is the product's own."""
    smaller = []
    for snapshot in training.snapshots:
        ranked = np.argsort(snapshot.hashed + np.uint64(number * 2**62), kind="stable")
        keep = np.zeros(len(ranked), dtype=bool)
        keep[ranked[:MOST]] = True
        smaller.append(snapshot.rows(keep))
    return replace(training, snapshots=tuple(smaller), fits={})


def auc_interval(churned: np.ndarray, ours: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the difference; all models score the same drawn customers."""
    random = np.random.default_rng(0)
    gaps = []
    for _ in range(DRAWS):
        rows = random.integers(0, len(churned), len(churned))
        gaps.append(
            roc_auc_score(churned[rows], ours[rows]) - roc_auc_score(churned[rows], whole[rows])
        )
    low, high = np.quantile(gaps, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Print a row of each model."""
    place = settings("training-sample")
    shutil.rmtree(place.home, ignore_errors=True)
    place.home.mkdir(parents=True)
    file = place.home.parent / f"{place.home.name}.parquet"
    write_file(EVENTS, file, each=EACH, days=DAYS)
    bring(place)
    lake = Lake.open(place)
    snapshots.MAX_TRAINING = snapshots.MAX_TRAINING_OF_FEW = EVENTS  # nothing is left out
    training = build_training_set(lake, cutoff=CUTOFF, window=WINDOW)
    test = snapshots.take_snapshot(lake, CUTOFF, WINDOW)
    shutil.rmtree(place.home)
    file.unlink()
    sizes = ", ".join(f"{len(own.frame):,}" for own in training.snapshots)
    print(f"customers of the snapshots: {sizes}; scored: {len(test.frame):,}")
    print("| trained on | estimator | AUC | difference | log-loss | difference |")
    print("| --- " * 6 + "|")
    everyone = fit(training)
    whole = everyone.predict(test)
    rows = [("all customers", everyone, whole)]
    for number in range(SAMPLES):
        trained = fit(sampled(training, number))
        rows.append((f"sample {number}", trained, trained.predict(test)))
    churned = test.labels
    ids = test.frame.customer_id.to_numpy()
    for name, trained, chance in rows:
        low, high = auc_interval(churned, chance, whole)
        auc, base = (roc_auc_score(churned, own) for own in (chance, whole))
        losses = [log_losses(churned, own) for own in (chance, whole)]
        gap = paired_interval(losses[0] - losses[1], ids)
        print(
            f"| {name} | {trained.estimator} | {auc:.4f} | {auc - base:+.5f} ({low:+.5f} to "
            f"{high:+.5f}) | {losses[0].mean():.5f} | {gap} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
