"""Share the recommender of the tiny shop."""

from functools import partial

import pytest

from retention import recommend
from tests.haste import hastily


@pytest.fixture(scope="session")
def trained(shop) -> recommend.TrainedRecommender:
    """Train on all but the shop's last four weeks."""
    with hastily():
        return recommend.train(shop.lake, cutoff=shop.end)


@pytest.fixture
def lists(shop, trained):
    """Make lists at the end of the tiny shop."""
    return partial(recommend.recommend, trained, shop.lake, as_of=shop.end)
