"""Models of how often customers order and how much they spend.

BG/NBD, MBG/NBD and Pareto/NBD share the interface `PurchaseModel`. Gamma-Gamma models the spend
per order. All are vectorised over customers.
"""

from collections.abc import Callable

import numpy as np

from retention.value import bgnbd, mbgnbd, paretonbd
from retention.value.purchase_model import PurchaseModel

FITS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], PurchaseModel]] = {
    "bg_nbd": bgnbd.fit,
    "mbg_nbd": mbgnbd.fit,
    "pareto_nbd": paretonbd.fit,
}

__all__ = ["FITS", "PurchaseModel"]
