"""Share the recommender of the tiny shop."""

import pytest

from retention import recommend
from tests.haste import hastily


@pytest.fixture(scope="session")
def trained(shop) -> recommend.TrainedRecommender:
    """Train on all but the shop's last four weeks."""
    with hastily():
        return recommend.train(shop.lake, cutoff=shop.end)
