"""The CDNOW sample: 39 weeks to fit and 39 weeks to test (2,357 customers)."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

TRAINING_END = "1997-09-30"
WEEKS = 39

# Only the files: importing the archived package needs setuptools' pkg_resources, which is gone.
FILES = Path(find_spec("lifetimes").submodule_search_locations[0]) / "datasets"


@cache
def training_period() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, t_x, T (weeks) and the mean spend of a repeat order day (0: none)."""
    table = pd.read_csv(FILES / "cdnow_customers_summary_with_transactions.csv")
    return tuple(table[name].to_numpy(float) for name in ("x", "t_x", "T", "zbar"))


@cache
def test_period() -> tuple[np.ndarray, np.ndarray]:
    """Return order days and spend of each customer in the second period."""
    names = ["master", "customer", "date", "cds", "dollars"]
    lines = pd.read_csv(FILES / "CDNOW_sample.txt", sep=r"\s+", header=None, names=names)
    later = lines[pd.to_datetime(lines.date.astype(str)) > TRAINING_END]
    customers = range(1, 2358)
    days = later.drop_duplicates(["customer", "date"]).groupby("customer").size()
    spend = later.groupby("customer").dollars.sum()
    return tuple(
        values.reindex(customers, fill_value=0).to_numpy(float) for values in (days, spend)
    )


def normalised_gini(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return how well expected spend ranks customers; 1 is a perfect ranking.

    Parameters
    ----------
    actual, expected : numpy.ndarray
        (n,) actual and expected spend.

    Returns
    -------
    float
        Gini of ``actual`` in the order of ``expected``, divided by its Gini in the best order.
    """
    return _gini(actual, expected) / _gini(actual, actual)


def _gini(actual: np.ndarray, order: np.ndarray) -> float:
    total = np.cumsum(
        np.asarray(actual, dtype=float)[np.argsort(-np.asarray(order), kind="stable")]
    )
    return float(2 * total.mean() / total[-1] - 1 - 1 / len(total))
