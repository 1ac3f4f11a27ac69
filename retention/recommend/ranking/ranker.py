"""The second stage: the chance that a candidate is bought within the horizon, learned on past windows.

Boosted trees and two small neural nets see everything, a logistic regression only the few signals that are strong everywhere;
their mean in log-odds ranks, the more by trees and nets the more customers these have learned from, unless one of `KINDS` alone
ranked surely better in past windows.
Pointwise with the negatives thinned and weighed up again; a customer weighs by 1/√purchases, so that the busiest do
not decide alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from retention.recommend.ranking import nets, signals
from retention.recommend.ranking.features import NAMES
from retention.recommend.ranking.forest import Forest
from retention.recommend.ranking.nets import Net

ALL, LEARNED, SIGNALS, POPULAR = KINDS = ("all", "learned", "signals", "popular")
ROUNDS = 160  # trees; more take longer and gain little
STEADY = 500  # customers: as if the few signals had learned from so many more than trees and nets
STANDARD_ROWS = 30_000  # that the standards of the features are taken from
SHRINK = 1e-9
FEW_ROWS = (
    50_000  # below, threads that wait for each other on a busy machine cost more than they save
)
BINS, BINNED_ON = 200, 50_000
NO_TREES = Forest(())


@dataclass(frozen=True, slots=True)
class Examples:
    """Candidates of past windows: the ranker's view, whether it was bought, and its weight; and of how many customers."""

    view: np.ndarray
    bought: np.ndarray
    weight: np.ndarray
    customers: int

    @property
    def new(self) -> Self:
        """Those of what the customer had never bought."""
        rows = self.fresh
        return replace(
            self, view=self.view[rows], bought=self.bought[rows], weight=self.weight[rows]
        )

    @property
    def fresh(self) -> np.ndarray:
        """Whether the customer had never bought it."""
        fresh: np.ndarray = self.view[:, NAMES.index("days")] == 0
        return fresh

    @property
    def decisive(self) -> bool:
        """Whether there is something to tell apart: some were bought, some not."""
        return bool(self.bought.any() and not self.bought.all())

    def with_(self, more: Self) -> Self:
        """These and further ones."""
        return type(self)(
            np.concatenate([self.view, more.view]),
            np.concatenate([self.bought, more.bought]),
            np.concatenate([self.weight, more.weight]),
            self.customers + more.customers,
        )

    def drawn(self, most: int, seed: int) -> Self:
        """At most so many of them, drawn evenly, and counted as of that share of the customers."""
        count = len(self.bought)
        if count <= most:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
        share = round(self.customers * most / count)
        return type(self)(self.view[rows], self.bought[rows], self.weight[rows], share)


@dataclass(frozen=True, slots=True)
class Ranker:
    """Scores candidates by log-odds of being bought.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    signals : mapping
        As `signals.fit` gives it.
    trees : Forest
        Neither trees nor nets where there is too little to learn them from.
    standards : mapping
        ``median``, ``mean``, ``scale`` of the features that the nets see.
    nets : sequence of `nets.Net`
    steady : float
        The share of the signals in the mean.
    """

    kind: str
    signals: Mapping[str, np.ndarray]
    trees: Forest = NO_TREES
    standards: Mapping[str, np.ndarray] = field(default_factory=dict)
    nets: tuple[Net, ...] = ()
    steady: float = 1.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of `KINDS` that it can score by, the usual one first."""
        return KINDS if self.nets else (SIGNALS, POPULAR)

    def scores(self, view: np.ndarray) -> np.ndarray:
        """Log-odds (candidates,)."""
        if self.kind == POPULAR:
            return np.log1p(np.nan_to_num(view[:, NAMES.index("item_buyers_28")]).clip(min=0))
        if self.kind == SIGNALS:
            return signals.scores(self.signals, view)
        learned = (
            self.trees.scores(view) + nets.scores(self.nets, _standard(view, self.standards))
        ) / 2
        if self.kind == LEARNED:
            return learned
        return learned + self.steady * (signals.scores(self.signals, view) - learned)

    def of(self, kind: str) -> Self:
        """The same, scoring by another of `KINDS`."""
        return self if kind == self.kind else replace(self, kind=kind)

    def arrays(self) -> dict[str, np.ndarray]:
        """For the artefact: plain arrays."""
        return {
            "kind": np.array(self.kind),
            "steady": np.array(self.steady),
            **self.trees.arrays(),
            **{f"signals_{name}": values for name, values in self.signals.items()},
            **{f"standards_{name}": values for name, values in self.standards.items()},
            **nets.arrays(self.nets),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The ranker of these arrays."""
        learned, standards = (
            {
                name.removeprefix(room): values
                for name, values in arrays.items()
                if name.startswith(room)
            }
            for room in ("signals_", "standards_")
        )
        return cls(
            str(arrays["kind"]),
            learned,
            Forest.restore(arrays),
            standards,
            nets.restored(arrays),
            float(arrays["steady"]),
        )


def fit(examples: Examples, *, seed: int = 0, few: bool = False) -> Ranker:
    """Learn from past windows.

    Parameters
    ----------
    examples : Examples
        Both bought and not bought must occur.
    seed : int
    few : bool
        Learn only from the few signals: where there is too little for trees and nets.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    steady = signals.fit(examples, seed=seed)
    if few:
        return Ranker(SIGNALS, steady)
    grown = HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        learning_rate=12 / ROUNDS,
        max_leaf_nodes=15,
        l2_regularization=5.0,
        min_samples_leaf=int(np.clip(len(examples.bought) // 500, 10, 200)),
        early_stopping=False,
        random_state=seed,
    )
    edges = _edges(examples.view, seed)
    weight = examples.weight / examples.weight.mean()
    binned = _binned(examples.view, edges)
    with threadpool_limits(limits=1 if len(binned) < FEW_ROWS else None, user_api="openmp"):
        grown.fit(binned, examples.bought, sample_weight=weight)
    trees = tuple(_unbinned(np.array(stage[0].nodes), edges) for stage in grown._predictors)
    start = float(np.ravel(grown._baseline_prediction)[0])
    standards = _standards(examples.view, seed)
    learned = nets.fit(_standard(examples.view, standards), examples.bought, weight, seed=seed)
    share = STEADY / (STEADY + examples.customers)
    return Ranker(ALL, steady, Forest(trees, start), standards, learned, share)


def _edges(view: np.ndarray, seed: int) -> list[np.ndarray]:
    """Upper ends of the bins of each feature, by quantiles.

    scikit-learn would find them by weighted quantiles, which took four fifths of the whole fit; and a column with
    fewer than two values stops it.
    """
    rows = np.arange(len(view))
    if len(view) > BINNED_ON:
        rows = np.random.default_rng(seed).choice(len(view), BINNED_ON, replace=False)
    steps = np.linspace(0, 1, BINS)[1:-1]
    return [
        np.unique(np.quantile(column[np.isfinite(column)], steps, method="lower"))
        if np.isfinite(column).any()
        else np.empty(0)
        for column in view[rows].T
    ]


def _binned(view: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """The number of each value's bin; missing stays missing, unless the feature has no value at all."""
    made = np.zeros(view.shape, dtype=np.float32)
    for number, ends in enumerate(edges):
        if len(ends):
            column = view[:, number]
            made[:, number] = np.where(
                np.isnan(column), np.nan, np.searchsorted(ends, column, side="left")
            )
    return made


def _unbinned(nodes: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """The tree with its thresholds in the features' own units: bin ≤ t + ½ is value ≤ the upper end of bin t."""
    for number in np.flatnonzero((nodes["is_leaf"] == 0) & np.isfinite(nodes["num_threshold"])):
        ends = edges[int(nodes["feature_idx"][number])]
        nodes["num_threshold"][number] = ends[int(nodes["num_threshold"][number])]
    return nodes


def _standards(view: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """What the features, squeezed by a logarithm, are standardised by."""
    rows = np.arange(len(view))
    if len(view) > STANDARD_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(view), STANDARD_ROWS, replace=False))
    squeezed = _squeezed(view[rows])
    seen = np.isfinite(squeezed)
    median = np.array(
        [
            np.median(column[known]) if known.any() else 0.0
            for column, known in zip(squeezed.T, seen.T, strict=True)
        ]
    )
    filled = np.where(seen, squeezed, median)
    scale = filled.std(axis=0) + SHRINK
    return {
        "median": median,
        "mean": filled.mean(axis=0),
        "scale": np.where(scale < 1e-6, np.inf, scale),
    }


def _squeezed(view: np.ndarray) -> np.ndarray:
    squeezed: np.ndarray = np.sign(view) * np.log1p(np.abs(view))
    return squeezed


def _standard(view: np.ndarray, standards: Mapping[str, Any]) -> np.ndarray:
    """Standardised, the missing at the median, with one column for each that says it was missing."""
    median, mean, scale = (
        standards[name].astype(np.float32) for name in ("median", "mean", "scale")
    )
    filled = _squeezed(view)
    missing = ~np.isfinite(filled)
    np.copyto(filled, np.broadcast_to(median, filled.shape), where=missing)
    filled = (filled - mean) / scale
    whole = np.hstack([filled.clip(-6, 6), missing[:, _MAY_MISS]])
    return np.ascontiguousarray(whole, dtype=np.float32)


_MAY_MISS = [
    NAMES.index(name) for name in ("last", "gap", "category_last", "type_last", "item_price")
]
