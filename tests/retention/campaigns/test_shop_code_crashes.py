"""Kill the job that makes codes at every point, and count what the shop has in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from retention.campaigns.codes.shop_code_sync import Shop, sync_campaign
from retention.connect.contract import MakesCodes
from retention.db import Database
from retention.db.tables import Coupon
from tests.standins import code_shops
from tests.standins.code_shops import books
from tests.world import scalars

CUSTOMERS, BATCH = 12, 4
EMAILS = {f"{number}": f"k{number}@example.com" for number in range(1000, 9000)}


class Killed(BaseException):
    """The process dies here."""


class Fuse:
    """Counts the points at which the process may die, and dies at one of them."""

    def __init__(self, at: int) -> None:
        self.at, self.points = at, 0

    def point(self) -> None:
        self.points += 1
        if self.points == self.at:
            raise Killed


class Fragile:
    """A connector that may die before and after each request."""

    def __init__(self, maker: MakesCodes, fuse: Fuse) -> None:
        self._maker, self._fuse = maker, fuse
        self.batch_size, self.needs_email = BATCH, maker.needs_email

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._maker, name)
        if name == "refusal":
            return function

        def call(*arguments: Any) -> Any:
            self._fuse.point()
            result = function(*arguments)
            result = list(result) if name == "codes" else result
            self._fuse.point()
            return result

        return call


def _fenced(database: Database, fuse: Fuse) -> Callable[[], Any]:
    """Transactions that may die before and after they commit."""

    @contextmanager
    def transaction() -> Iterator[Any]:
        with database.transaction() as session:
            yield session
            fuse.point()
        fuse.point()

    return transaction


def _run(database, maker: MakesCodes, campaign_id: str, at: int = 0) -> int:
    """Run one job that dies at a point; returns how many points it passed."""
    fuse = Fuse(at)
    shop = Shop(Fragile(maker, fuse), EMAILS, timedelta(0), poll_every=0.001, poll_seconds=5.0)
    report = sync_campaign(_fenced(database, fuse), shop, campaign_id)
    assert report.error is None
    return fuse.points


def _campaign(database, number: int) -> str:
    campaign_id = f"c{number}"
    first = 1000 + 20 * number
    code_shops.live_campaign(database, CUSTOMERS, campaign_id, first=first)
    return campaign_id


def _codes(database, campaign_id: str, *states: str) -> set[str]:
    mine = (Coupon.campaign_id == campaign_id, Coupon.state.in_(states))
    return set(scalars(database, select(Coupon.code).where(*mine)))


@pytest.mark.parametrize(
    "kind", ["shopify", pytest.param("woocommerce", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("when", ["live", "stopped", "removing"])
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.nightly), 9], ids=["every", "some"]
)
def test_killed_at_any_point_makes_each_code_once(database, kind, when, step):
    """Killed while it makes codes (and maybe stopped then), or while it removes them."""
    with code_shops.connected(database, kind) as stand_in:
        shop, maker = books(stand_in), code_shops.opened(database)
        number, is_whole = 0, False
        while not is_whole:
            campaign_id = _campaign(database, number)
            if when == "removing":
                _run(database, maker, campaign_id)
                code_shops.stop(database, campaign_id)
            try:
                _run(database, maker, campaign_id, number * step + 1)
                is_whole = True
            except Killed:
                pass
            if when == "stopped":
                code_shops.stop(database, campaign_id)
            _run(database, maker, campaign_id)
            if when == "live":
                assert _codes(database, campaign_id, "issued") <= shop.codes().keys()
            else:
                assert not _codes(database, campaign_id, "void") & shop.codes().keys()
            number += 1
        print(f"killed at {number - 1} points: {kind}, {when}")
        assert number > (15 if when == "removing" else 40) // step
        assert not shop.unapproved
        assert set(shop.created.values()) <= {1}


@pytest.mark.parametrize("kind", ["shopify", "woocommerce"])
def test_request_that_may_still_arrive_is_waited_for(database, kind):
    """The next job neither repeats nor forgets it until it cannot take effect any more."""
    with code_shops.connected(database, kind) as stand_in:
        campaign_id = _campaign(database, 0)
        _run_until_first_batch(database, campaign_id)
        before = len(stand_in.calls)
        report = code_shops.sync(database, campaign_id, busy=timedelta(minutes=1))
        assert report.is_pending
        writes = [call.body for call in stand_in.calls[before:] if call.method == "POST"]
        assert not [body for body in writes if b"BulkAdd" in body or b'"create"' in body]
        code_shops.stop(database, campaign_id)
        report = code_shops.sync(database, campaign_id, busy=timedelta(minutes=1))
        assert report.is_pending  # the codes of that request are not called deleted


def _run_until_first_batch(database, campaign_id: str) -> None:
    """Die after the intent to add codes, before the request."""
    fuse = Fuse(0)
    maker = Fragile(code_shops.opened(database), fuse)

    def dies(*arguments: Any) -> Any:
        raise Killed

    maker._maker.add_codes = dies  # type: ignore[method-assign]
    shop = Shop(maker, EMAILS, timedelta(minutes=1), 0.001, 5.0)
    with pytest.raises(Killed):
        sync_campaign(_fenced(database, fuse), shop, campaign_id)
