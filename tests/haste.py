"""Train smaller models in tests that do not check their quality."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from retention.recommend.ranking import base_models, ranker


@contextmanager
def hastily() -> Iterator[None]:
    """Limit rankers to a few trees and their networks to a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranker, "TREES", 30)
        patch.setattr(base_models, "NET_STEPS", 60)
        patch.setattr(base_models, "MIN_EPOCHS", 1)
        yield
