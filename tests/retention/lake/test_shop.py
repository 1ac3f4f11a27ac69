"""The tiny shop that other tests stand on."""


def test_shop_has_lapsed_and_active_customers(shop):
    events = shop.lake.table("events")
    assert shop.lake.table("customers").count().execute() == 300
    assert shop.lake.table("items").count().execute() == 60
    last = events.group_by("customer_id").agg(last=events.occurred_at.max()).execute()["last"]
    silent = (shop.end.replace(tzinfo=None) - last).dt.days > 56
    assert 0.1 < silent.mean() < 0.5
    assert shop.lake.newest_event() < shop.end
