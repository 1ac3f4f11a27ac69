"""Ids to positions."""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pandas import Index

LONG = 1_000  # ids whose index is worth keeping as long as they are there themselves
_INDEXES: dict[int, "Index"] = {}


def positions(known: np.ndarray, wanted: Sequence[str] | Any) -> np.ndarray:
    """Where each of ``wanted`` stands in the distinct ids ``known``; −1 where it is unknown.

    Never use the result as an index before dropping the −1: numpy and implicit both take it for the last row, which
    is another customer's list.
    """
    import pandas as pd

    if not len(known) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    return np.array(_index(known).get_indexer(pd.Index(wanted, dtype="str")))


def _index(known: np.ndarray) -> "Index":
    """An index of ids; of a long array, which nobody changes, the one made before."""
    import pandas as pd

    if len(known) < LONG:
        return pd.Index(known, dtype="str")
    if id(known) not in _INDEXES:
        _INDEXES[id(known)] = pd.Index(known, dtype="str")
        weakref.finalize(known, _INDEXES.pop, id(known), None)
    return _INDEXES[id(known)]
