"""Boosted trees that answer without walking: each row's leaf of every tree at once, by bit masks.

Lucchese et al. 2015 (QuickScorer): a tree's leaves are bits, in order from left to right. A split that sends a row to the right
clears the bits of the leaves below its left, and of those that stay after all splits the first is the row's leaf. What a value does
to all trees depends only on between which thresholds of its feature it lies, so that the splits of a feature are one table.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

NODE = np.dtype(
    [
        ("value", "f8"),
        ("feature_idx", "i8"),
        ("num_threshold", "f8"),
        ("missing_go_to_left", "u1"),
        ("right", "u4"),
        ("is_leaf", "u1"),
    ]
)
LEAVES = 16  # of a tree at the most: bits of a mask
BLOCK = 1_024  # rows at a time, so that their masks stay in the cache


class Forest:
    """The sum of some trees.

    Parameters
    ----------
    trees : sequence of ndarray
        Nodes of each tree, as scikit-learn's predictor keeps them (of their fields, those of `NODE`): parents before their
        children, left before right. At most `LEAVES` leaves each, and no split by categories.
    start : float
        What is added to.
    """

    def __init__(self, trees: Sequence[np.ndarray], start: float = 0.0) -> None:
        size = np.array([len(nodes) for nodes in trees], dtype=np.int64)
        nodes: Any = np.concatenate(
            [np.empty(0, dtype=NODE), *(one[list(NODE.names or ())].astype(NODE) for one in trees)]
        )
        self.nodes, self.ends, self.start = nodes, np.cumsum(size), start
        tree, first = np.repeat(np.arange(len(size)), size), np.repeat(self.ends - size, size)
        before = (
            np.cumsum(nodes["is_leaf"], dtype=np.int64) - nodes["is_leaf"]
        )  # leaves before a node
        leaf, split = np.flatnonzero(nodes["is_leaf"]), np.flatnonzero(nodes["is_leaf"] == 0)
        self._values = np.zeros((len(size), LEAVES))
        self._values[tree[leaf], before[leaf] - before[first[leaf]]] = nodes["value"][leaf]
        begin, end = (
            before[at] - before[first[split]]
            for at in (split, first[split] + nodes["right"][split])
        )
        mask = ~((1 << end) - (1 << begin)).astype(np.uint16)
        self._tables = [
            (int(feature), *_table(nodes[split[of]], tree[split[of]], mask[of], len(size)))
            for feature in np.unique(nodes["feature_idx"][split])
            for of in [np.flatnonzero(nodes["feature_idx"][split] == feature)]
        ]

    def scores(self, view: np.ndarray) -> np.ndarray:
        """The sum (rows,), of a view (rows × features) of single floats in which what is missing is NaN."""
        found = np.empty(len(view))
        first = np.arange(0, self._values.size, LEAVES)[:, None]
        for begin in range(0, len(view), BLOCK):
            left = self._left(view[begin : begin + BLOCK])
            values = self._values.take(
                _FIRST.take(left.T) + first
            )  # tree by tree, as they are added up
            np.add.reduce(values, axis=0, initial=self.start, out=found[begin : begin + BLOCK])
        return found

    def _left(self, view: np.ndarray) -> np.ndarray:
        """The bits that stay, (rows × trees)."""
        left = np.full((len(view), len(self._values)), 2**LEAVES - 1, dtype=np.uint16)
        masks = np.empty_like(left)
        for feature, ends, table in self._tables:
            # Where nothing may be out of range, numpy need not write to a copy first.
            table.take(ends.searchsorted(view[:, feature]), axis=0, out=masks, mode="clip")
            left &= masks
        return left

    def arrays(self) -> dict[str, np.ndarray]:
        """For the artefact: plain arrays."""
        fields = {
            f"node_{name}": np.ascontiguousarray(self.nodes[name]) for name in NODE.names or ()
        }
        return {"ends": self.ends, "start": np.array(self.start), **fields}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The trees of these arrays."""
        nodes: Any = np.empty(len(arrays["node_value"]), dtype=NODE)
        for name in NODE.names or ():
            nodes[name] = arrays[f"node_{name}"]
        return cls(np.split(nodes, arrays["ends"])[:-1], float(arrays["start"]))


def _table(
    nodes: Any, tree: np.ndarray, mask: np.ndarray, trees: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the splits by one feature: where its values change what they do, and the masks (steps × trees) between; the last if missing.

    Values are single floats: to lie above a threshold is to lie above the last single float that is not above it.
    """
    ends = np.unique(np.r_[nodes["num_threshold"], np.inf])
    table = np.full((len(ends) + 1, trees), 2**LEAVES - 1, dtype=np.uint16)
    at = np.searchsorted(ends, nodes["num_threshold"])  # the last step that goes to the left
    right = np.isfinite(nodes["num_threshold"])
    np.bitwise_and.at(table, (at[right] + 1, tree[right]), mask[right])
    np.bitwise_and.accumulate(table[:-1], axis=0, out=table[:-1])
    missing = nodes["missing_go_to_left"] == 0
    np.bitwise_and.at(table, (np.full(int(missing.sum()), -1), tree[missing]), mask[missing])
    single = ends.astype(np.float32)
    return np.where(single > ends, np.nextafter(single, np.float32(-np.inf)), single), table


def _firsts() -> np.ndarray:
    """The number of the first bit that is set, of every mask."""
    made = np.zeros(2**LEAVES, dtype=np.uint8)
    for bit in reversed(range(LEAVES)):
        made[1 << bit :: 2 << bit] = bit
    return made


_FIRST = _firsts()
