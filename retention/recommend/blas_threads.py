"""BLAS with one thread: OpenBLAS's own get in the way of ours, and of implicit's (top 10 for 200,000: 11.6 s, not 16.6)."""

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def _controller() -> Any:
    """Looking for the libraries takes longer than a list; numpy's and scipy's BLAS are there once both are imported."""
    import numpy
    import scipy.linalg
    from threadpoolctl import ThreadpoolController

    assert numpy
    assert scipy.linalg
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """For as long as the context lasts; afterwards as many as before."""
    return _controller().limit(limits=1, user_api="blas")
