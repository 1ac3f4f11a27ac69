"""Models of fewer trees and steps: for tests that ask how and from what something is learned, not how well."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from retention.recommend.ranking import nets, ranker


@contextmanager
def hastily() -> Iterator[None]:
    """Until its end, rankers of recommendations have a few trees, and their nets make a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranker, "ROUNDS", 30)
        patch.setattr(nets, "STEPS", 60)
        patch.setattr(nets, "FEWEST_EPOCHS", 1)
        yield
