"""The CDNOW sample: what was known after 39 weeks, and what the next 39 brought (2,357 customers)."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

KNOWN_UNTIL = "1997-09-30"
WEEKS = 39

# Only its files are wanted: to import the archived package takes setuptools' pkg_resources, which are gone.
FILES = Path(find_spec("lifetimes").submodule_search_locations[0]) / "datasets"


@cache
def known() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, t_x, T (weeks) and the mean spend of a repeat order day (0: none)."""
    table = pd.read_csv(FILES / "cdnow_customers_summary_with_transactions.csv")
    return tuple(table[name].to_numpy(float) for name in ("x", "t_x", "T", "zbar"))


@cache
def came() -> tuple[np.ndarray, np.ndarray]:
    """Order days and spend of each customer in the weeks after."""
    names = ["master", "customer", "date", "cds", "dollars"]
    lines = pd.read_csv(FILES / "CDNOW_sample.txt", sep=r"\s+", header=None, names=names)
    later = lines[pd.to_datetime(lines.date.astype(str)) > KNOWN_UNTIL]
    customers = range(1, 2358)
    days = later.drop_duplicates(["customer", "date"]).groupby("customer").size()
    spend = later.groupby("customer").dollars.sum()
    return tuple(one.reindex(customers, fill_value=0).to_numpy(float) for one in (days, spend))
