"""Recommendations of the tiny shop."""

import pytest

from retention import recommend


@pytest.fixture(scope="session")
def trained(shop) -> recommend.TrainedRecommender:
    """Trained on all but the shop's last four weeks."""
    return recommend.train(shop.lake, cutoff=shop.end)
