"""Test that orders of a shop redeem the codes that were made there."""

from datetime import timedelta

from sqlalchemy import select

from retention.campaigns.codes.file_imports import LISTENER
from retention.connect.connections import Access
from retention.connect.shops.loading import import_page
from retention.connect.shops.shopify import Shopify
from retention.db.tables import Coupon, Redemption
from retention.lake import Lake
from tests.standins import code_shops
from tests.standins.code_shops import NOW, STAND_INS, states
from tests.world import rows


def test_order_with_a_code_redeems_it_and_a_stop_leaves_it(database, settings):
    with STAND_INS["shopify"].start(allowed=code_shops.may_exist(database)) as shop:
        code_shops.connect(database, settings, "shopify", shop.url)
        code_shops.approved_campaign(database, settings, 12, "c1")
        code_shops.go_live(database, settings, "c1")
        code_shops.sync(database, settings, "c1")
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
        with database.reading() as session:
            row = session.execute(
                select(Coupon.state, Coupon.order_id).where(Coupon.code == code)
            ).one()
            outcomes = session.scalars(select(Redemption.outcome)).all()
        assert (row.state, row.order_id is not None) == ("redeemed", True)
        assert set(outcomes) == {"redeemed"}
        code_shops.stop(database, settings, "c1")
        code_shops.sync(database, settings, "c1")
        assert set(shop.discounts.codes()) == {code}
        assert states(database, "c1")[code] == "made"
