"""The second stage: the chance that a candidate is bought within the horizon, learned on the window before.

Boosted trees, two small neural nets, a logistic regression, or the mean of trees and nets in log-odds: whichever ranked
best on customers held back.
Pointwise with the negatives thinned and weighed up again; a customer weighs by 1/√purchases, so that the busiest do
not decide alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from retention.recommend import nets
from retention.recommend.features import NAMES
from retention.recommend.nets import Net

KINDS = ("both", "trees", "nets", "logistic")
LOGISTIC_ROWS = 30_000
SHRINK = 1e-9
FEW_ROWS = 50_000  # below, threads that wait for each other on a busy machine cost more than they save
BINS, BINNED_ON = 200, 50_000


@dataclass(frozen=True, slots=True)
class Examples:
    """Candidates of a past window: the ranker's view, whether it was bought, and its weight."""

    view: np.ndarray
    bought: np.ndarray
    weight: np.ndarray

    def with_(self, more: Self) -> Self:
        """These and further ones."""
        return type(self)(
            np.concatenate([self.view, more.view]),
            np.concatenate([self.bought, more.bought]),
            np.concatenate([self.weight, more.weight]),
        )


@dataclass(frozen=True, slots=True)
class Ranker:
    """Scores candidates by log-odds of being bought.

    Parameters
    ----------
    kind : {"both", "trees", "nets", "logistic"}
    trees : sequence of ndarray
        Nodes of each tree, as scikit-learn's predictor keeps them; with them the log-odds they start from.
    line : mapping
        ``median``, ``mean``, ``scale`` of the features and ``weights`` (the last is the intercept).
    nets : sequence of `nets.Net`
        On the features that the line is on.
    """

    kind: str
    trees: tuple[np.ndarray, ...]
    start: float
    line: Mapping[str, np.ndarray]
    nets: tuple[Net, ...] = ()

    def scores(self, view: np.ndarray) -> np.ndarray:
        """Log-odds (candidates,)."""
        if self.kind == "trees":
            return self._grown(view)
        standard = _standard(view, self.line)
        if self.kind == "logistic":
            return standard @ self.line["weights"][:-1] + self.line["weights"][-1]
        netted = nets.scores(self.nets, standard)
        return netted if self.kind == "nets" else (self._grown(view) + netted) / 2

    def of(self, kind: str) -> Self:
        """The same, scoring by another of `KINDS`."""
        return replace(self, kind=kind)

    def _grown(self, view: np.ndarray) -> np.ndarray:
        from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

        none = np.empty((0, 8), dtype=np.uint32)  # no categorical features
        known, where = np.empty((0, 8), dtype=np.uint32), np.zeros(view.shape[1], dtype=np.uint32)
        wide = np.ascontiguousarray(view, dtype=np.float64)
        total = np.full(len(view), self.start)
        for nodes in self.trees:
            total += TreePredictor(nodes, none, none).predict(wide, known, where, 1)
        return total

    def arrays(self) -> dict[str, np.ndarray]:
        """For the artefact: plain arrays."""
        ends = np.cumsum([len(nodes) for nodes in self.trees]) if self.trees else np.empty(0, dtype=np.int64)
        nodes: Any = np.concatenate(self.trees) if self.trees else np.empty(0)
        fields = {f"node_{name}": np.ascontiguousarray(nodes[name]) for name in nodes.dtype.names or ()}
        return {
            "kind": np.array(self.kind), "ends": ends, "start": np.array(self.start), **fields,
            **{f"line_{name}": values for name, values in self.line.items()}, **nets.arrays(self.nets),
        }  # fmt: skip

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The ranker of these arrays."""
        from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

        ends = arrays["ends"].astype(int)
        nodes = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=PREDICTOR_RECORD_DTYPE)
        for name in nodes.dtype.names or ():
            nodes[name] = arrays[f"node_{name}"] if len(ends) else nodes[name]
        line = {name[5:]: values for name, values in arrays.items() if name.startswith("line_")}
        return cls(
            str(arrays["kind"]), tuple(np.split(nodes, ends[:-1])) if len(ends) else (),
            float(arrays["start"]), line, nets.restored(arrays),
        )  # fmt: skip


def fit(examples: Examples, *, seed: int = 0, rounds: int = 160) -> Ranker:
    """Learn from a past window.

    Parameters
    ----------
    examples : Examples
        Both bought and not bought must occur.
    seed : int
    rounds : int
        Trees; more take longer and gain little.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    grown = HistGradientBoostingClassifier(
        max_iter=rounds, learning_rate=12 / rounds, max_leaf_nodes=15, l2_regularization=5.0,
        min_samples_leaf=int(np.clip(len(examples.bought) // 500, 10, 200)), early_stopping=False, random_state=seed,
    )  # fmt: skip
    edges = _edges(examples.view, seed)
    weight = examples.weight / examples.weight.mean()
    binned = _binned(examples.view, edges)
    with threadpool_limits(limits=1 if len(binned) < FEW_ROWS else None, user_api="openmp"):
        grown.fit(binned, examples.bought, sample_weight=weight)
    trees = tuple(_unbinned(np.array(stage[0].nodes), edges) for stage in grown._predictors)
    start = float(np.ravel(grown._baseline_prediction)[0])
    line = _logistic(examples, seed)
    learned = nets.fit(_standard(examples.view, line), examples.bought, weight, seed=seed)
    return Ranker("trees", trees, start, line, learned)


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
            made[:, number] = np.where(np.isnan(column), np.nan, np.searchsorted(ends, column, side="left"))
    return made


def _unbinned(nodes: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """The tree with its thresholds in the features' own units: bin ≤ t + ½ is value ≤ the upper end of bin t."""
    for number in np.flatnonzero((nodes["is_leaf"] == 0) & np.isfinite(nodes["num_threshold"])):
        ends = edges[int(nodes["feature_idx"][number])]
        nodes["num_threshold"][number] = ends[int(nodes["num_threshold"][number])]
    return nodes


def _logistic(examples: Examples, seed: int) -> dict[str, np.ndarray]:
    """Weights of a logistic regression on features squeezed by a logarithm and standardised."""
    from sklearn.linear_model import LogisticRegression

    count = len(examples.bought)
    rows = np.arange(count)
    if count > LOGISTIC_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(count, LOGISTIC_ROWS, replace=False))
    squeezed = _squeezed(examples.view[rows])
    seen = np.isfinite(squeezed)
    median = np.array(
        [
            np.median(column[known]) if known.any() else 0.0
            for column, known in zip(squeezed.T, seen.T, strict=True)
        ]
    )
    filled = np.where(seen, squeezed, median)
    line = {"median": median, "mean": filled.mean(axis=0), "scale": filled.std(axis=0) + SHRINK}
    line["scale"] = np.where(line["scale"] < 1e-6, np.inf, line["scale"])
    fitted = LogisticRegression(C=0.3, max_iter=200).fit(
        _standard(examples.view[rows], line),
        examples.bought[rows],
        sample_weight=examples.weight[rows] / examples.weight.mean(),
    )
    return {**line, "weights": np.r_[fitted.coef_[0], fitted.intercept_]}


def _squeezed(view: np.ndarray) -> np.ndarray:
    squeezed: np.ndarray = np.sign(view) * np.log1p(np.abs(view))
    return squeezed


def _standard(view: np.ndarray, line: Mapping[str, Any]) -> np.ndarray:
    """Standardised, the missing at the median, with one column for each that says it was missing."""
    median, mean, scale = (line[name].astype(np.float32) for name in ("median", "mean", "scale"))
    filled = _squeezed(view)
    missing = ~np.isfinite(filled)
    np.copyto(filled, np.broadcast_to(median, filled.shape), where=missing)
    filled = (filled - mean) / scale
    return np.hstack([filled.clip(-6, 6), missing[:, _MAY_MISS]]).astype(np.float32)


_MAY_MISS = [NAMES.index(name) for name in ("last", "gap", "category_last", "type_last", "item_price")]
