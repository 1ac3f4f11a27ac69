"""Rank candidates by their chance of being bought.

The purchase must fall within the horizon. Trees and two small neural networks see all features; a
logistic regression sees a few signals that are strong everywhere. Their mean in log-odds ranks,
unless one of `KINDS` was clearly better in past windows. Trees and networks weigh more with more
customers. Training is pointwise: sampled negatives are weighted up, and a customer weighs
1/√purchases. Without enough data, `mixture_scores` ranks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from retention.features.catalogue import signed_log
from retention.recommend.matrices import drop_prefix, sample_rows
from retention.recommend.ranking.base_models import (
    Forest,
    Net,
    fit_logistic,
    fit_nets,
    logistic_scores,
    net_arrays,
    net_scores,
    restore_nets,
)
from retention.recommend.ranking.features import NAMES, Examples

MIXTURE_HALF_LIFE = 90  # days, of own purchases
POPULARITY_PRIOR = 3.0  # purchases


def mixture_scores(
    own_scores: np.ndarray, collaborative: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Add own purchases, collaborative scores and a popularity prior.

    This ranks without a trained ranker. Popularity counts like a few purchases of everyone's, as a
    Dirichlet prior does (Zhai and Lafferty 2001): it decides for customers with few or old
    purchases.

    `share`: share of each item in recent purchases of all customers. Not added to negative own
    scores.
    """
    scores: np.ndarray = own_scores + collaborative + POPULARITY_PRIOR * share * (own_scores >= 0)
    return scores


ALL, LEARNED, SIGNALS, POPULAR = KINDS = ("all", "learned", "signals", "popular")
TREES = 112  # more take longer and gain little
LOGISTIC_CUSTOMERS = 500  # weight of the logistic regression, in customers of trees and nets
SCALING_ROWS = 30_000  # sample for the standardisation
MIN_SCALE = 1e-9
SINGLE_THREAD_ROWS = 50_000  # below, waiting threads cost more than they save on a busy machine
BINS, BINNING_ROWS = 200, 50_000
NO_TREES = Forest(())


@dataclass(frozen=True, slots=True)
class Ranker:
    """Score candidates by log-odds of being bought.

    `logistic`: parameters of the logistic regression, from `fit_logistic`.
    `trees`: empty, like ``nets``, with too little data.
    `scaling`: ``median``, ``mean``, ``scale`` of the features for the networks.
    `logistic_share`: weight of the logistic regression in the mean.
    """

    kind: str
    logistic: Mapping[str, np.ndarray]
    trees: Forest = NO_TREES
    scaling: Mapping[str, np.ndarray] = field(default_factory=dict)
    nets: tuple[Net, ...] = ()
    logistic_share: float = 1.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """List the possible kinds, the default first."""
        return KINDS if self.nets else (SIGNALS, POPULAR)

    def scores(self, view: np.ndarray) -> np.ndarray:
        """Compute log-odds (candidates,)."""
        if self.kind == POPULAR:
            return _popularity(view)
        if self.kind == SIGNALS:
            return logistic_scores(self.logistic, view)
        learned = self._learned(view)
        if self.kind == LEARNED:
            return learned
        return self._mean(learned, logistic_scores(self.logistic, view))

    def scores_by_kind(self, view: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the log-odds of all `kinds`, each part once."""
        signals = logistic_scores(self.logistic, view)
        scores = {SIGNALS: signals, POPULAR: _popularity(view)}
        if self.nets:
            learned = self._learned(view)
            scores |= {LEARNED: learned, ALL: self._mean(learned, signals)}
        return {kind: scores[kind] for kind in self.kinds}

    def _learned(self, view: np.ndarray) -> np.ndarray:
        nets = net_scores(self.nets, _standardise(view, self.scaling))
        return (self.trees.scores(view) + nets) / 2

    def _mean(self, learned: np.ndarray, signals: np.ndarray) -> np.ndarray:
        return learned + self.logistic_share * (signals - learned)

    def with_kind(self, kind: str) -> Self:
        """Return the same ranker with another kind."""
        return self if kind == self.kind else replace(self, kind=kind)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the ranker as plain arrays."""
        return {
            "kind": np.array(self.kind),
            "steady": np.array(self.logistic_share),
            **self.trees.arrays(),
            **{f"signals_{name}": values for name, values in self.logistic.items()},
            **{f"standards_{name}": values for name, values in self.scaling.items()},
            **net_arrays(self.nets),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild the ranker from `arrays`."""
        return cls(
            str(arrays["kind"]),
            drop_prefix(arrays, "signals_"),
            Forest.restore(arrays),
            drop_prefix(arrays, "standards_"),
            restore_nets(arrays),
            float(arrays["steady"]),
        )


def _popularity(view: np.ndarray) -> np.ndarray:
    return np.log1p(np.nan_to_num(view[:, NAMES.index("item_buyers_28")]).clip(min=0))


def fit(examples: Examples, *, seed: int = 0, logistic_only: bool = False) -> Ranker:
    """Fit a ranker on examples of past windows.

    `logistic_only`: fit the logistic regression only, without trees and networks.
    """
    logistic = fit_logistic(examples, seed=seed)
    if logistic_only:
        return Ranker(SIGNALS, logistic)
    boosting = HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=12 / TREES,
        max_leaf_nodes=15,
        l2_regularization=5.0,
        min_samples_leaf=int(np.clip(len(examples.bought) // 500, 10, 200)),
        early_stopping=False,
        random_state=seed,
    )
    edges = _bin_edges(examples.view, seed)
    weight = examples.weight / examples.weight.mean()
    binned = _to_bins(examples.view, edges)
    threads = 1 if len(binned) < SINGLE_THREAD_ROWS else None
    with threadpool_limits(limits=threads, user_api="openmp"):
        boosting.fit(binned, examples.bought, sample_weight=weight)
    trees = tuple(_from_bins(np.array(stage[0].nodes), edges) for stage in boosting._predictors)
    baseline = float(np.ravel(boosting._baseline_prediction)[0])
    scaling = _fit_scaling(examples.view, seed)
    networks = fit_nets(_standardise(examples.view, scaling), examples.bought, weight, seed)
    share = LOGISTIC_CUSTOMERS / (LOGISTIC_CUSTOMERS + examples.customers)
    return Ranker(ALL, logistic, Forest(trees, baseline), scaling, networks, share)


def _bin_edges(view: np.ndarray, seed: int) -> list[np.ndarray]:
    """Compute upper bin ends by quantiles.

    scikit-learn uses weighted quantiles, which took four fifths of the whole fit and fail for a
    column with fewer than two values.
    """
    sample = view[sample_rows(len(view), BINNING_ROWS, seed)]
    steps = np.linspace(0, 1, BINS)[1:-1]
    columns = (column[np.isfinite(column)] for column in sample.T)
    return [
        np.unique(np.quantile(known, steps, method="lower")) if len(known) else np.empty(0)
        for known in columns
    ]


def _to_bins(view: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Replace each value by the number of its bin.

    Missing values stay missing, unless the feature has no value at all.
    """
    columns = np.ascontiguousarray(view.T)  # a search in a column with gaps takes twice as long
    bins = np.zeros(columns.shape, dtype=np.float32)
    for column, ends, column_bins in zip(columns, edges, bins, strict=True):
        if len(ends):
            column_bins[:] = np.searchsorted(ends, column, side="left")
            column_bins[np.isnan(column)] = np.nan
    return np.ascontiguousarray(bins.T)


def _from_bins(nodes: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Convert a tree's thresholds to feature units.

    bin ≤ t + ½ is equivalent to value ≤ upper end of bin t.
    """
    for number in np.flatnonzero((nodes["is_leaf"] == 0) & np.isfinite(nodes["num_threshold"])):
        ends = edges[int(nodes["feature_idx"][number])]
        nodes["num_threshold"][number] = ends[int(nodes["num_threshold"][number])]
    return nodes


def _fit_scaling(view: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Compute median, mean and scale of the log-transformed features."""
    values = signed_log(view[sample_rows(len(view), SCALING_ROWS, seed)])
    is_known = np.isfinite(values)
    columns = [column[mask] for column, mask in zip(values.T, is_known.T, strict=True)]
    median = np.array([np.median(known) if len(known) else 0.0 for known in columns])
    filled = np.where(is_known, values, median)
    scale = filled.std(axis=0) + MIN_SCALE
    scale = np.where(scale < 1e-6, np.inf, scale)
    return {"median": median, "mean": filled.mean(axis=0), "scale": scale}


def _standardise(view: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
    """Standardise features for the networks.

    Missing values become the median; an indicator column per feature marks them.
    """
    median, mean, scale = (scaling[name].astype(np.float32) for name in ("median", "mean", "scale"))
    filled = signed_log(view)
    missing = ~np.isfinite(filled)
    np.copyto(filled, np.broadcast_to(median, filled.shape), where=missing)
    filled = (filled - mean) / scale
    matrix = np.hstack([filled.clip(-6, 6), missing[:, _MISSABLE_COLUMNS]])
    return np.ascontiguousarray(matrix, dtype=np.float32)


_MISSABLE_COLUMNS = [
    NAMES.index(name) for name in ("last", "gap", "category_last", "type_last", "item_price")
]
