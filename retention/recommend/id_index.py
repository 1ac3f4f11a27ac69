"""Ids to positions."""

import weakref
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np

LONG = 1_000  # ids whose index is worth keeping as long as they are there themselves
_INDEXES: dict[int, dict[str, int]] = {}


def positions(known: np.ndarray, wanted: Sequence[str] | Any) -> np.ndarray:
    """Where each of ``wanted`` stands in the distinct ids ``known``; −1 where it is unknown.

    Never use the result as an index before dropping the −1: numpy and implicit both take it for the last row, which
    is another customer's list.
    """
    values = np.asarray(wanted, dtype=object)
    found = map(_index(known).get, values.tolist(), repeat(-1))
    return np.fromiter(found, dtype=np.int64, count=len(values))


def _index(known: np.ndarray) -> dict[str, int]:
    """Of a long array, which nobody changes, the one made before."""
    if len(known) < LONG:
        return _made(known)
    if id(known) not in _INDEXES:
        _INDEXES[id(known)] = _made(known)
        weakref.finalize(known, _INDEXES.pop, id(known), None)
    return _INDEXES[id(known)]


def _made(known: np.ndarray) -> dict[str, int]:
    return dict(zip(known.tolist(), range(len(known)), strict=True))
