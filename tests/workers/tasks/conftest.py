"""The session's shop with an admin, at the end of its data."""

from collections.abc import Iterator

import pytest

from retention import clock
from tests import readonly
from tests import shop as tiny
from tests.workers.harness import ADMIN


@pytest.fixture
def admin_shop(shop, tmp_path) -> Iterator[tiny.Shop]:
    """A copy of the session's shop, which is read-only."""
    copy = readonly.copy_of(shop, tmp_path / "home", admins=ADMIN)
    clock.configure(fixed=shop.end)
    yield copy
    copy.database.dispose()
