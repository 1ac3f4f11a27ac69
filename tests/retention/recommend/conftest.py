"""Share the recommender of the tiny shop, and a smaller shop."""

from collections.abc import Iterator
from functools import partial

import pytest

from retention import recommend
from tests import readonly
from tests import shop as tiny
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


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Iterator[tiny.Shop]:
    """A read-only shop of 90 customers."""
    shop = tiny.build(tmp_path_factory.mktemp("small") / "home", customers=90, items=30, days=150)
    with readonly.shared(shop) as small:
        yield small


@pytest.fixture
def small_copy(small, tmp_path) -> Iterator[tiny.Shop]:
    """A writable copy of it."""
    copy = readonly.copy_of(small, tmp_path / "home")
    yield copy
    copy.database.dispose()
