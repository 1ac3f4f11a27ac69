"""``python -m tests.benchmarks.gift_shops [SHAPE…] [SEED…]``: compare ``auto`` with its members.

Sixty shop-cutoffs: twenty made-up gift shops (`tests.gift_shops`) at three cutoffs each. The seeds
are not those that the model selection was tuned on (21 to 25); other seeds are arguments. Takes
about ten minutes of processor time; no bound is a test here.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

import numpy as np

from retention.churn import estimators
from retention.churn.evaluation.classification_metrics import ece
from retention.churn.evaluation.rolling import origins
from retention.churn.evaluation.uncertainty import log_losses
from retention.churn.model import fit
from retention.churn.snapshots import Snapshot, take_snapshot
from retention.churn.training_set import TrainingSet, build_training_set
from retention.window import Window
from tests import shops
from tests.gift_shops import SHAPES, gift_shop

SEEDS = (41, 42, 43, 44)
MAX_SHOPS = 20
CUTOFFS = 3  # per shop, at least one horizon apart
SINGLE = (*estimators.SIMPLE, "logistic", "boosting", *estimators.CALENDAR)
_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Comparison:
    """``auto`` against single members at a cutoff.

    Parameters
    ----------
    shop, cutoff : str
    labels, probabilities : numpy.ndarray
        (n,) of the customers active at the cutoff.
    one_order : numpy.ndarray
        (n,) mask of customers with one order.
    singles : dict
        Member → (n,) probabilities, calibrated as by ``--model``.
    """

    shop: str
    cutoff: str
    labels: np.ndarray
    probabilities: np.ndarray
    one_order: np.ndarray
    singles: dict[str, np.ndarray]

    @property
    def log_loss(self) -> float:
        """Mean log-loss of ``auto``."""
        return float(log_losses(self.labels, self.probabilities).mean())

    @property
    def best_single(self) -> tuple[str, float]:
        """Name and log-loss of the best single member, known only afterwards."""
        losses = {
            name: float(log_losses(self.labels, p).mean()) for name, p in self.singles.items()
        }
        best = min(losses, key=lambda name: losses[name])
        return best, losses[best]

    @property
    def worst_error(self) -> float:
        """Largest lead of a single member in standard errors, paired by customer."""
        leads = self._leads
        return float((leads.mean(axis=0) / _standard_errors(leads)).max())

    @property
    def worst_error_limit(self) -> float:
        """What the best of all members exceeds by chance in one of twenty cases.

        If no member is better than ``auto``, the largest of their leads still is above 0. Its
        distribution is that of the largest of correlated normal values, drawn with random weights
        of the customers (White 2000, A Reality Check for Data Snooping, Econometrica 68).
        """
        leads = self._leads
        centred = (leads - leads.mean(axis=0)) / _standard_errors(leads) / len(leads)
        weights = np.random.default_rng(0).standard_normal((5 * _DRAWS, len(leads)))
        return float(np.quantile((weights @ centred).max(axis=1), 0.95))

    @property
    def _leads(self) -> np.ndarray:
        """Log-loss of ``auto`` less that of each member, (n, members)."""
        auto = log_losses(self.labels, self.probabilities)
        return np.column_stack([auto - log_losses(self.labels, p) for p in self.singles.values()])

    @property
    def ece(self) -> float:
        """Expected calibration error of ``auto``."""
        return ece(self.labels, self.probabilities)

    def ece_limit(self, chance: float = 0.05) -> float:
        """Return the ECE that true probabilities exceed with a chance, by simulation."""
        rng = np.random.default_rng(0)
        p = self.probabilities
        draws = int(_DRAWS * 0.05 / chance)
        drawn = [ece((rng.random(len(p)) < p).astype(float), p) for _ in range(draws)]
        return float(np.quantile(drawn, 1 - chance))


def _standard_errors(leads: np.ndarray) -> np.ndarray:
    return leads.std(axis=0, ddof=1) / np.sqrt(len(leads))


def features(shape: str, seed: int) -> tuple[TrainingSet, Snapshot]:
    """Return the training set at a shop's last cutoff and the customers to predict."""
    plan = SHAPES[shape]
    cutoff = plan.end - timedelta(days=plan.horizon_days)
    window = Window(plan.horizon_days, plan.active_within_days)
    with tempfile.TemporaryDirectory(prefix="gift-shop-") as folder:
        lake = shops.lake(Path(folder), gift_shop(shape, seed))
        return (
            build_training_set(lake, cutoff=cutoff, window=window),
            take_snapshot(lake, cutoff, window=window),
        )


def compare(
    training: TrainingSet, newest: Snapshot, shop: str, cutoffs: int = CUTOFFS
) -> list[Comparison]:
    """Compare at the last cutoff and at rolling origins before it.

    Parameters
    ----------
    training : TrainingSet
        At the last cutoff.
    newest : Snapshot
        Labelled customers at the last cutoff.
    shop : str
    cutoffs : int
    """
    comparisons = []
    for test in [newest, *origins(training)][:cutoffs]:
        known = training if test is newest else training.as_of(test.cutoff)
        if known is None:
            break
        comparisons.append(
            Comparison(
                shop,
                training.day(test.cutoff),
                test.labels,
                fit(known).predict(test),
                (test.frame.order_days <= 1).to_numpy(dtype=bool),
                {name: fit(known, model=name).predict(test) for name in SINGLE},
            )
        )
    return comparisons


def summary(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the lines of the summary."""
    total = len(comparisons)
    leads = [item.log_loss - item.best_single[1] for item in comparisons]
    counts = {
        "log-loss at or below the best single member's": [lead <= 0 for lead in leads],
        "not above it by more than one standard error": [
            item.worst_error <= 1 for item in comparisons
        ],
        "not above it by more than 1.64 standard errors": [
            item.worst_error <= 1.64 for item in comparisons
        ],
        "not above it by more than the best of eight leads by chance (95 %)": [
            item.worst_error <= item.worst_error_limit for item in comparisons
        ],
        "ECE within chance (95 %)": [item.ece <= item.ece_limit() for item in comparisons],
    }
    lines = [
        f"- {text}: {sum(hits)} of {total} ({sum(hits) / total:.0%})"
        for text, hits in counts.items()
    ]
    lines.append("")
    lines.append("| model | mean log-loss | of auto less this |")
    lines.append("| --- | --- | --- |")
    auto = np.array([item.log_loss for item in comparisons])
    lines.append(f"| auto | {auto.mean():.4f} | |")
    for name in SINGLE:
        losses = np.array(
            [log_losses(item.labels, item.singles[name]).mean() for item in comparisons]
        )
        difference = auto - losses
        error = difference.std(ddof=1) / np.sqrt(total) if total > 1 else float("nan")
        lines.append(f"| {name} | {losses.mean():.4f} | {difference.mean():+.4f} ± {error:.4f} |")
    lines.append("")
    for text, mask in (("one order", True), ("several orders", False)):
        chosen = [item.one_order == mask for item in comparisons]
        p = np.concatenate([i.probabilities[m] for i, m in zip(comparisons, chosen, strict=True)])
        y = np.concatenate([i.labels[m] for i, m in zip(comparisons, chosen, strict=True)])
        lines.append(
            f"- customers with {text}: expected {p.mean():.3f}, came {y.mean():.3f} ({len(y):,})"
        )
    return lines


def row(item: Comparison) -> str:
    """Return a row of the table."""
    best, loss = item.best_single
    return (
        f"| {item.shop} | {item.cutoff} | {len(item.labels)} | {item.labels.mean():.3f} "
        f"| {item.log_loss:.4f} | {loss:.4f} ({best}) | {item.worst_error:+.1f} "
        f"| {item.worst_error_limit:.1f} | {item.ece:.3f} | {item.ece_limit():.3f} |"
    )


HEADER = (
    "| shop, seed | cutoff | customers | churned | log-loss | best single "
    "| largest lead, standard errors | by chance, 95 % | ECE | by chance, 95 % |\n"
    + "| --- " * 10
    + "|"
)


def main(shapes: Sequence[str] = (), seeds: Sequence[int] = SEEDS) -> None:
    """Print the table and its summary, of the first twenty shops of the seeds."""
    print(HEADER, flush=True)
    comparisons: list[Comparison] = []
    for shape, seed in islice(((name, seed) for seed in seeds for name in SHAPES), MAX_SHOPS):
        if shapes and shape not in shapes:
            continue
        for item in compare(*features(shape, seed), f"{shape}, {seed}"):
            comparisons.append(item)
            print(row(item), flush=True)
    print("\n" + "\n".join(summary(comparisons)))


if __name__ == "__main__":
    numbers = [word for word in sys.argv[1:] if word.isdecimal()]
    names = [word for word in sys.argv[1:] if not word.isdecimal()]
    if unknown := set(names) - set(SHAPES):
        sys.exit(f"There is no shape {', '.join(sorted(unknown))}; choose {', '.join(SHAPES)}.")
    main(names, [int(number) for number in numbers] or SEEDS)
