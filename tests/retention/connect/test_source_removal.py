"""Test when a shop can be removed."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from retention import clock
from retention.connect.shops import webhook_inbox
from retention.connect.sources import source_records
from retention.db.tables import Connection, ShopCode, ShopDiscount, Source, Webhook
from retention.errors import Conflict
from tests.standins import code_shops
from tests.standins.code_shops import NOW


@pytest.fixture
def connection(database, settings) -> Connection:
    """A connected shop, which no test asks for anything."""
    clock.configure(fixed=NOW)
    stored = code_shops.connect(database, "shopify", "https://shop.example")
    new = source_records.NewSource("shop", "shop", "shopify", "hour", "UTC", NOW)
    with database.transaction() as session:
        source_records.add(session, new, by="U0ADMIN", connection=stored)
    return stored


def remove(database, settings) -> list[Source]:
    with database.transaction() as session:
        source_records.remove(session, "shop", "U0ADMIN")
        return list(session.scalars(select(Source)))


def test_shop_with_valid_codes_is_not_removed(database, settings, connection):
    code_shops.live_campaign(database, 5)
    with database.reading() as session:
        last = max(session.scalars(select(ShopDiscount.ends_at)))
    with pytest.raises(Conflict, match=rf"May c1.*{last.astimezone(settings.zone):%Y-%m-%d}"):
        remove(database, settings)
    clock.configure(fixed=last + timedelta(seconds=1))
    assert remove(database, settings) == []
    with database.reading() as session:
        assert session.scalars(select(Connection.state)).one() == "removed"


def test_shop_is_removed_once_its_codes_are_deleted(database, settings, connection):
    code_shops.live_campaign(database, 5)
    with database.transaction() as session:
        session.execute(update(ShopCode).values(state="deleted"))
    assert remove(database, settings) == []


def test_shop_with_waiting_webhooks_is_not_removed(database, settings, connection):
    with database.transaction() as session:
        webhook_inbox.store(session, connection, "d1", "orders/create", b"{}")
    with pytest.raises(Conflict):
        remove(database, settings)
    with database.transaction() as session:
        session.execute(update(Webhook).values(attempts=webhook_inbox.MAX_ATTEMPTS))
    assert remove(database, settings) == []
