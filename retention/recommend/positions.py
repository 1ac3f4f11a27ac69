"""Ids to positions."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def positions(known: np.ndarray, wanted: Sequence[str] | Any) -> np.ndarray:
    """Where each of ``wanted`` stands in the distinct ids ``known``; −1 where it is unknown.

    Never use the result as an index before dropping the −1: numpy and implicit both take it for the last row, which
    is another customer's list.
    """
    import pandas as pd

    if not len(known) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    return np.asarray(pd.Index(known, dtype="str").get_indexer(pd.Index(wanted, dtype="str")))
