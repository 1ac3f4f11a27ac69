"""What customers will buy and what that is worth, our own and vectorised: three purchase models behind one contract
(BG/NBD, MBG/NBD, Pareto/NBD), and Gamma-Gamma for the spend.
"""

from collections.abc import Callable

import numpy as np

from retention.value import bgnbd, mbgnbd, paretonbd
from retention.value.contract import PurchaseModel

FITS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], PurchaseModel]] = {
    "bg_nbd": bgnbd.fit,
    "mbg_nbd": mbgnbd.fit,
    "pareto_nbd": paretonbd.fit,
}

__all__ = ["FITS", "PurchaseModel"]
