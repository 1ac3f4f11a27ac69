"""``make hillstrom FILE=…``: compare our uplift models with published figures on Hillstrom's data.

The data (MineThatData's e-mail experiment, 64,000 customers, three randomised arms) is not shipped.
Each figure of the reference has a row. Its textbook learner is fitted here on the same 2 × 5 folds,
so that the difference to ours is paired. Ours is the learner that the product chooses,
cross-validated as the published figures are. "Choosing" is the stricter figure in which each fold
is ranked by what the other folds choose. Qini is scikit-uplift's.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklift.metrics import qini_auc_score

from retention.errors import BadInput
from retention.uplift.evaluation import cross_validate, select_by_qini, select_per_fold
from retention.uplift.experiment import build_experiment, read_table
from retention.uplift.learners import (
    LEARNERS,
    ClassTransformation,
    DoublyRobust,
    SLearner,
    TLearner,
    UpliftLearner,
)

CUSTOMERS, CONTROL = 64_000, "No E-Mail"
FEATURES = (
    "recency",
    "history_segment",
    "history",
    "mens",
    "womens",
    "zip_code",
    "newbie",
    "channel",
)

TEXTBOOK: Mapping[str, Callable[[], UpliftLearner]] = {
    "T-learner, LR": lambda: TLearner(LogisticRegression(max_iter=2000)),
    "S-learner, LR with interactions": lambda: SLearner(LogisticRegression(max_iter=2000)),
    "class transformation": lambda: ClassTransformation(LogisticRegression(max_iter=2000)),
    "DR, ridge": lambda: DoublyRobust(LogisticRegression(max_iter=2000), Ridge()),
    "DR, boosting": LEARNERS["dr_boosting"],
}
# No learner of uplift: who is the least, or the most, likely to visit anyway; the better of the two
RISK = "risk"

# Comparison with no e-mail (None: any e-mail), and the figures that have been measured on it.
REFERENCE: Mapping[str, tuple[str | None, Mapping[str, float]]] = {
    "any e-mail": (
        None,
        {
            "T-learner, LR": 0.035,
            "S-learner, LR with interactions": 0.036,
            "class transformation": 0.034,
            "DR, ridge": 0.034,
        },
    ),
    "women's": ("Womens E-Mail", {"class transformation": 0.063, "DR, boosting": 0.063}),
    "men's": ("Mens E-Mail", {"class transformation": 0.015, RISK: 0.024}),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the reference beside ours.

    ``error`` is the standard error of the paired difference over folds.
    """

    comparison: str
    learner: str
    known: float  # what we are held against
    here: float  # the same textbook learner, on these folds
    ours: float
    error: float

    @property
    def holds(self) -> bool:
        """Ours is below by no more than one standard error."""
        return self.ours >= self.known - self.error


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison: the Qini of every fold by learner.

    It also holds what the product chooses, and what the other folds choose in each.
    """

    qini: Mapping[str, np.ndarray]
    chosen: str
    choices: tuple[str, ...]

    @property
    def ours(self) -> np.ndarray:
        """Qini of what the product chooses, a fold."""
        return self.qini[self.chosen]

    @property
    def choosing(self) -> np.ndarray:
        """Qini of the choosing itself, a fold."""
        return np.array([self.qini[name][fold] for fold, name in enumerate(self.choices)])


def compare(table: pd.DataFrame, arm: str | None) -> Compared:
    """Cross-validate the product's learners and the textbook's on the same folds."""
    trial = build_experiment(
        table, treatment="segment", outcome="visit", features=FEATURES, control=CONTROL, arm=arm
    )
    scores, fold = cross_validate(trial, {**LEARNERS, **TEXTBOOK})
    scores["most likely"] = -scores["risk"]
    treated = trial.treated.astype(np.int64)
    qini = {
        name: np.array(
            [
                qini_auc_score(trial.outcome[at], score[repeat, at], treated[at])
                for repeat in range(len(fold))
                for at in (
                    np.flatnonzero(fold[repeat] == number) for number in range(fold.max() + 1)
                )
            ]
        )
        for name, score in scores.items()
    }
    qini[RISK] = max(qini[RISK], qini.pop("most likely"), key=np.mean)
    own = {name: qini[name] for name in LEARNERS}
    return Compared(qini, select_by_qini(own), tuple(select_per_fold(own)))


def rows(
    table: pd.DataFrame, *, published: bool = True, only: tuple[str, ...] = tuple(REFERENCE)
) -> Iterator[tuple[Row, Compared]]:
    """Yield each figure of the reference.

    Without ``published``, as on made-up data, the textbook's own figures here count.
    """
    for comparison in only:
        arm, figures = REFERENCE[comparison]
        found = compare(table, arm)
        for learner, figure in figures.items():
            here = found.qini[learner]
            gap = found.ours - here
            error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
            known = figure if published else float(here.mean())
            yield (
                Row(
                    comparison, learner, known, float(here.mean()), float(found.ours.mean()), error
                ),
                found,
            )


def main(file: str) -> int:
    """Print the table; 1 if a row does not hold."""
    # Scikit-uplift calls what scikit-learn is about to take away: 700 warnings beside a table of
    # 30 lines.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"sklearn\.")
    started = perf_counter()
    try:
        table = read_table(Path(file))
        missing = [name for name in (*FEATURES, "segment", "visit") if name not in table.columns]
        if missing:
            raise BadInput(f"{file} is not Hillstrom's: it has no column {missing[0]!r}.")
    except BadInput as refusal:
        print(refusal, file=sys.stderr)
        return 2
    real = len(table) == CUSTOMERS
    if not real:
        print(
            f"{len(table):,} rows, not {CUSTOMERS:,}: "
            "held against the textbook's figures here, not the published."
        )
    print(f"{'comparison':12} {'reference':34} {'known':>7} {'here':>7} {'ours':>7} {'1 SE':>6}")
    held, shown = [], ""
    for row, found in rows(table, published=real):
        if row.comparison != shown:
            shown = row.comparison
            figures = REFERENCE[shown][1]
            best = max(figures[name] if real else found.qini[name].mean() for name in figures)
            for name in LEARNERS:
                error = found.qini[name].std(ddof=1) / np.sqrt(len(found.qini[name]))
                mark = "  chosen" if name == found.chosen else ""
                print(
                    f"{shown:12} ours: {name:28} {best:7.3f} {'':7} "
                    f"{found.qini[name].mean():7.3f} {error:6.3f}{mark}"
                )
            print(
                f"{shown:12} ours, the choosing itself {'':9} {'':7} {'':7} "
                f"{found.choosing.mean():7.3f}"
            )
        held.append(row.holds)
        print(
            f"{row.comparison:12} {row.learner:34} {row.known:7.3f} {row.here:7.3f} "
            f"{row.ours:7.3f} {row.error:6.3f}  {'holds' if row.holds else 'MISSED'}"
        )
    print(f"{sum(held)} of {len(held)} rows hold; {perf_counter() - started:.0f} s")
    return int(not all(held))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.benchmarks.hillstrom FILE (or make hillstrom FILE=…)")
    sys.exit(main(sys.argv[1]))
