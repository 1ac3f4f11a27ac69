"""Fit the ranker's logistic regression, trees and networks."""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from retention.recommend.history import HALF_LIVES
from retention.recommend.matrices import drop_prefix
from retention.recommend.ranking.features import NAMES, Examples

# Offset before the logarithm: about the smallest value that differs from zero.
LOG_OFFSETS = {
    **{f"faded_{each}": 0.01 for each in HALF_LIVES},
    "item_buyers": 0.5,
    "item_buyers_7": 0.5,
    "item_buyers_28": 0.5,
    "item_buyers_before": 0.5,
    "collaborative": 0.01,
    "neighbours": 0.01,
    "item_returned": 0.01,
    "days": 1.0,
    "visits_28": 1.0,
}
_LOG_COLUMNS = [NAMES.index(name) for name in LOG_OFFSETS]
# log(own purchases + weight × collaborative score), as the mixture adds them
OWN_PLUS_COLLABORATIVE = (("faded_90", 0.3), ("faded_90", 1.0), ("faded_240", 1.0))
MAX_LOGISTIC_ROWS = 60_000
LOGISTIC_RIDGE = 10.0  # of standardised signals


def fit_logistic(examples: Examples, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Fit a logistic regression on strong signals.

    The signals are logarithms of own decayed purchases, recent buyers, collaborative scores and
    sums of them. They stay reliable with too little data for trees and nets. In a shop without
    personal preferences the order is close to popularity, in a grocery to own purchases.

    `seed`: of the sample of at most `MAX_LOGISTIC_ROWS` rows.
    Returns: ``mean`` and ``scale`` of the signals, and ``weights``; the last weight is the
    intercept.
    """
    sample = examples.sample(MAX_LOGISTIC_ROWS, seed)
    sample = sample if sample.has_both_outcomes else examples
    signals = _signals(sample.view)
    mean, scale = signals.mean(axis=0), signals.std(axis=0) + 1e-9
    # With so few signals Newton's method is quicker than L-BFGS, and more exact.
    model = LogisticRegression(C=1 / LOGISTIC_RIDGE, solver="newton-cholesky").fit(
        (signals - mean) / scale, sample.bought, sample_weight=sample.weight / sample.weight.mean()
    )
    return {"mean": mean, "scale": scale, "weights": np.r_[model.coef_[0], model.intercept_]}


def logistic_scores(parameters: Mapping[str, np.ndarray], view: np.ndarray) -> np.ndarray:
    """Compute log-odds (rows,) by a fitted logistic regression."""
    standard = (_signals(view) - parameters["mean"]) / parameters["scale"]
    scores: np.ndarray = standard @ parameters["weights"][:-1] + parameters["weights"][-1]
    return scores


def _signals(view: np.ndarray) -> np.ndarray:
    """Compute the signals (rows × signals) from the features."""
    values = np.nan_to_num(view[:, _LOG_COLUMNS].astype(float)).clip(min=0)
    logarithms = np.log(values + list(LOG_OFFSETS.values()))
    value, log = (dict(zip(LOG_OFFSETS, each.T, strict=True)) for each in (values, logarithms))
    has_bought = (value["days"] > 0).astype(float)
    sums = (
        np.log(value[own_name] + weight * value["collaborative"] + 0.01)
        for own_name, weight in OWN_PLUS_COLLABORATIVE
    )
    again = (has_bought * log[name] for name in ("item_buyers_28", "item_returned"))
    return np.column_stack([logarithms, has_bought, *again, *sums])


NODE_DTYPE = np.dtype(
    [
        ("value", "f8"),
        ("feature_idx", "i8"),
        ("num_threshold", "f8"),
        ("missing_go_to_left", "u1"),
        ("right", "u4"),
        ("is_leaf", "u1"),
    ]
)
NODE_FIELDS = NODE_DTYPE.names or ()
MAX_LEAVES = 16  # maximum per tree: bits of a mask
BLOCK_ROWS = 1_024  # rows at a time, to keep their masks in the cache


class Forest:
    """Sum the predictions of boosted trees.

    The trees are not walked (QuickScorer). All leaves of a row are found at once by bit masks
    (Lucchese et al. 2015). The leaves of a tree are bits, from left to right. A split that sends a
    row to the right clears the bits of the leaves on its left; the first remaining bit is the row's
    leaf. The effect of a value on all trees depends only on its position among the thresholds of
    its feature, so the splits of a feature form one table.

    `trees`: nodes of each tree in the format of scikit-learn's predictor (the fields in
    `NODE_DTYPE`): parents before children, left before right. At most `MAX_LEAVES` leaves each; no
    categorical splits.
    """

    def __init__(self, trees: Sequence[np.ndarray], start: float = 0.0) -> None:
        size = np.array([len(nodes) for nodes in trees], dtype=np.int64)
        plain = (tree_nodes[list(NODE_FIELDS)].astype(NODE_DTYPE) for tree_nodes in trees)
        nodes: Any = np.concatenate([np.empty(0, dtype=NODE_DTYPE), *plain])
        self.nodes, self.ends, self.start = nodes, np.cumsum(size), start
        tree, first = np.repeat(np.arange(len(size)), size), np.repeat(self.ends - size, size)
        leaves_before = np.cumsum(nodes["is_leaf"], dtype=np.int64) - nodes["is_leaf"]
        leaf, split = np.flatnonzero(nodes["is_leaf"]), np.flatnonzero(nodes["is_leaf"] == 0)
        self._values = np.zeros((len(size), MAX_LEAVES))
        place = leaves_before[leaf] - leaves_before[first[leaf]]
        self._values[tree[leaf], place] = nodes["value"][leaf]
        begin, end = (
            leaves_before[at] - leaves_before[first[split]]
            for at in (split, first[split] + nodes["right"][split])
        )
        mask = ~((1 << end) - (1 << begin)).astype(np.uint16)
        self._tables = [
            (int(feature), *_mask_table(nodes[split[of]], tree[split[of]], mask[of], len(size)))
            for feature in np.unique(nodes["feature_idx"][split])
            for of in [np.flatnonzero(nodes["feature_idx"][split] == feature)]
        ]

    def scores(self, view: np.ndarray) -> np.ndarray:
        """Sum the tree values per row, (rows,)."""
        scores = np.empty(len(view))
        first = np.arange(0, self._values.size, MAX_LEAVES)[:, None]
        for begin in range(0, len(view), BLOCK_ROWS):
            left = self._left(view[begin : begin + BLOCK_ROWS])
            # tree by tree, in the order of the sum
            values = self._values.take(_FIRST_BIT.take(left.T) + first)
            part = scores[begin : begin + BLOCK_ROWS]
            np.add.reduce(values, axis=0, initial=self.start, out=part)
        return scores

    def _left(self, view: np.ndarray) -> np.ndarray:
        """Return the remaining bits, (rows × trees)."""
        left = np.full((len(view), len(self._values)), 2**MAX_LEAVES - 1, dtype=np.uint16)
        masks = np.empty_like(left)
        for feature, ends, table in self._tables:
            # With mode="clip" numpy writes to `out` without an intermediate copy.
            table.take(ends.searchsorted(view[:, feature]), axis=0, out=masks, mode="clip")
            left &= masks
        return left

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the trees as plain arrays."""
        fields = {f"node_{name}": np.ascontiguousarray(self.nodes[name]) for name in NODE_FIELDS}
        return {"ends": self.ends, "start": np.array(self.start), **fields}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild the forest from `arrays`."""
        nodes: Any = np.empty(len(arrays["node_value"]), dtype=NODE_DTYPE)
        for name in NODE_FIELDS:
            nodes[name] = arrays[f"node_{name}"]
        return cls(np.split(nodes, arrays["ends"])[:-1], float(arrays["start"]))


def _mask_table(
    nodes: Any, tree: np.ndarray, mask: np.ndarray, trees: int
) -> tuple[np.ndarray, np.ndarray]:
    """Build the mask table of one feature.

    Values are single floats. A value is above a threshold if it is above the last single float that
    does not exceed the threshold.

    Returns: upper ends of the steps between thresholds.
    """
    ends = np.unique(np.r_[nodes["num_threshold"], np.inf])
    table = np.full((len(ends) + 1, trees), 2**MAX_LEAVES - 1, dtype=np.uint16)
    at = np.searchsorted(ends, nodes["num_threshold"])  # the last step that goes to the left
    right = np.isfinite(nodes["num_threshold"])
    np.bitwise_and.at(table, (at[right] + 1, tree[right]), mask[right])
    np.bitwise_and.accumulate(table[:-1], axis=0, out=table[:-1])
    missing = nodes["missing_go_to_left"] == 0
    np.bitwise_and.at(table, (np.full(int(missing.sum()), -1), tree[missing]), mask[missing])
    single = ends.astype(np.float32)
    return np.where(single > ends, np.nextafter(single, np.float32(-np.inf)), single), table


def _first_bits() -> np.ndarray:
    """Return the first set bit of each mask."""
    first = np.zeros(2**MAX_LEAVES, dtype=np.uint8)
    for bit in reversed(range(MAX_LEAVES)):
        first[1 << bit :: 2 << bit] = bit
    return first


_FIRST_BIT = _first_bits()


Net = tuple[np.ndarray, ...]  # weights and biases alternate, layer by layer

NET_COUNT = 2
HIDDEN_LAYERS = (64, 32)
NET_STEPS, MIN_EPOCHS, MAX_EPOCHS = 1_500, 4, 40
BATCH_SIZES = (64, 1_024)  # smallest and largest


def fit_nets(
    view: np.ndarray, bought: np.ndarray, weight: np.ndarray, seed: int
) -> tuple[Net, ...]:
    """Fit small neural networks with scikit-learn.

    Networks see smooth interactions while trees see steps; their mean is better than either.

    `view`: standardised, without missing values.
    `seed`: of the first network.
    """
    batch = int(np.clip(len(view) // 300, *BATCH_SIZES))
    epochs = int(np.clip(NET_STEPS * batch // max(len(view), 1), MIN_EPOCHS, MAX_EPOCHS))

    def fit_one(number: int) -> Net:
        net = MLPClassifier(
            HIDDEN_LAYERS,
            alpha=1e-4,
            learning_rate_init=2e-3,
            batch_size=min(batch, len(view)),
            max_iter=epochs,
            random_state=seed + number,
        ).fit(view, bought, sample_weight=weight)
        return tuple(
            np.asarray(array, dtype=np.float32)
            for layer in zip(net.coefs_, net.intercepts_, strict=True)
            for array in layer
        )

    # A network's steps are too small for two threads in BLAS, but the networks are independent.
    with (
        warnings.catch_warnings(),
        threadpool_limits(limits=1, user_api="blas"),
        ThreadPoolExecutor(NET_COUNT) as pool,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are intended
        return tuple(pool.map(fit_one, range(NET_COUNT)))


def net_scores(nets: Sequence[Net], view: np.ndarray) -> np.ndarray:
    """Average the log-odds of the networks, (rows,)."""
    return np.mean([_forward(net, view) for net in nets], axis=0)


def _forward(net: Net, view: np.ndarray) -> np.ndarray:
    layer = view
    for weights, biases in zip(net[:-2:2], net[1:-2:2], strict=True):
        layer = np.maximum(layer @ weights + biases, 0)
    return (layer @ net[-2] + net[-1]).ravel()


def net_arrays(nets: Sequence[Net]) -> dict[str, np.ndarray]:
    """Return the weights as arrays named ``net_0_0``, ``net_0_1``, …"""
    return {
        f"net_{number}_{place}": part
        for number, net in enumerate(nets)
        for place, part in enumerate(net)
    }


def restore_nets(arrays: Mapping[str, np.ndarray]) -> tuple[Net, ...]:
    """Rebuild the networks from `net_arrays`."""
    nets = [drop_prefix(arrays, f"net_{number}_") for number in range(NET_COUNT)]
    return tuple(tuple(net[str(at)] for at in range(len(net))) for net in nets if net)
