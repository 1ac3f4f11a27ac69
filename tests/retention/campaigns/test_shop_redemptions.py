"""Test that orders of a shop redeem the codes that were made there."""

from datetime import timedelta

from sqlalchemy import select

from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
from retention.connect.connections import Access
from retention.connect.shops.loading import import_page
from retention.connect.shops.shopify import Shopify
from retention.db.tables import Coupon, Redemption
from retention.lake import Lake
from tests.standins import code_shops
from tests.standins.code_shops import NOW, states
from tests.world import one, rows, scalars


def test_order_with_a_code_redeems_it_and_a_stop_leaves_it(database, settings):
    with code_shops.connected(database) as shop:
        code_shops.live_campaign(database, 12)
        code_shops.sync(database)
        code, customer = rows(database, select(Coupon.code, Coupon.customer_id))[0]
        at = NOW + timedelta(days=2)
        assert not shop.discounts.checkout(code, customer, 50, f"{at:%Y-%m-%dT%H:%M:%SZ}")
        shop.records.add_customer(int(customer))
        shop.records.add_order(1, customer=int(customer), at=at, codes=[code], currency="EUR")
        shop.records.currency, shop.polls_until_done = "EUR", 1
        connector = Shopify(Access({"shop": shop.url, "token": "shpat_test"}))
        lake = Lake.open(settings)
        for _ in range(2):  # a repeated pull is no second use
            for page in connector.pull({}):
                import_page(lake, database, page, name="shop", listener=LISTENER)
        coupon = one(database, select(Coupon).where(Coupon.code == code))
        assert coupon.state == "redeemed"
        assert coupon.order_id is not None
        assert set(scalars(database, select(Redemption.outcome))) == {"redeemed"}
        code_shops.stop(database)
        code_shops.sync(database)
        assert set(shop.discounts.codes()) == {code}
        assert states(database)[code] == "made"
