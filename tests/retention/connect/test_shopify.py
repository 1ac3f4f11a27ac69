"""Test what only Shopify has: bulk operations, the cost bucket and the parts of its records."""

from contextlib import closing
from datetime import timedelta

import pytest

from retention import clock
from retention.connect.connections import Access
from retention.connect.contract import ConnectorError
from retention.connect.shops import shopify as shopify_module
from retention.connect.shops.shopify import Shopify
from retention.errors import BadInput
from tests.retention.connect.failures import failure
from tests.retention.connect.shops import connected
from tests.standins.shopify import CLIENT_ID
from tests.standins.shopify_data import BEGIN, stamp

AT = {"updated_at": "2026-01-01T00:00:00+00:00"}
LOADED = {"orders": AT, "customers": AT, "products": AT}


@pytest.fixture
def pair():
    """A connector and its stand-in."""
    with connected("shopify") as pair:
        yield pair


def started(stand_in) -> int:
    return sum(b"bulkOperationRunQuery" in call.body for call in stand_in.calls)


def by_id(pages, table) -> dict[str, dict]:
    key = {"events": "event_id", "items": "item_id"}[table]
    return {row[key]: row for page in pages if page.table == table for row in page.rows}


def events(pages) -> dict[str, dict]:
    return by_id(pages, "events")


def test_killed_first_load_continues_with_its_operation(pair):
    connector, stand_in = pair
    first = next(connector.pull({}))
    assert "operation" in first.watermark["products"]
    assert not first.rows
    list(connector.pull(first.watermark))
    assert started(stand_in) == 3  # products, customers and orders: none twice


def test_operation_of_a_lost_answer_is_found(pair):
    connector, stand_in = pair
    stand_in.polls_until_done = 99
    stand_in.fail("cut_after_effect", path="bulkOperationRunQuery")
    with pytest.raises(ConnectorError):
        next(connector.pull({}))
    page = next(connector.pull({}))
    assert page.watermark["products"]["operation"] in stand_in.operations
    assert len(stand_in.operations) == 1


def test_operation_of_somebody_else_is_waited_for(pair):
    connector, stand_in = pair
    query = "{ customers { edges { node { id } } } }"
    stand_in.mutations["bulkOperationRunQuery"]({"query": query})
    error = failure(lambda: next(connector.pull({})))
    assert error.code == "rate_limited"
    assert error.retry_at > clock.wall() + timedelta(minutes=5)


def test_long_operation_ends_the_pull_and_the_next_one_continues(pair, monkeypatch):
    connector, stand_in = pair
    stand_in.polls_until_done = 2
    monkeypatch.setattr(shopify_module, "MAX_POLLING", 0.0)
    pages = []
    assert failure(lambda: pages.extend(connector.pull({}))).code == "rate_limited"
    monkeypatch.undo()
    list(connector.pull(pages[-1].watermark))
    assert started(stand_in) == 3


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("FAILED", "ACCESS_DENIED", "scope_missing"), ("EXPIRED", None, "unavailable")],
)
def test_failed_operation_is_started_again(pair, status, code, expected):
    connector, stand_in = pair
    page = next(connector.pull({}))
    operation = stand_in.operations[page.watermark["products"]["operation"]]
    operation |= {"status": status, "errorCode": code}
    pages = []
    assert failure(lambda: pages.extend(connector.pull(page.watermark))).code == expected
    assert pages[-1].watermark["products"] == {}
    assert len(events(connector.pull(pages[-1].watermark))) > 40


def test_empty_bucket_is_waited_for(pair):
    connector, stand_in = pair
    stand_in.fail("throttled", times=3)
    list(connector.pull(LOADED))
    assert stand_in.calls


def test_slowly_filling_bucket_ends_the_pull_with_its_time(pair):
    connector, stand_in = pair
    stand_in.restore_rate, stand_in.available = 0.1, 0.0
    error = failure(lambda: list(connector.pull(LOADED)))
    assert error.code == "rate_limited"
    assert error.retry_at > clock.wall() + timedelta(minutes=1)


def test_every_query_stays_below_the_highest_cost(pair):
    """The stand-in refuses a query over 1,000 points; the connector asks for less at a time."""
    connector, stand_in = pair
    for number in range(100, 160):
        stand_in.records.add_order(number)
    assert len(events(connector.pull(LOADED))) > 100


def test_all_lines_and_refunds_of_a_large_order_are_read(pair):
    connector, stand_in = pair
    lines = [(f"SKU-{number}", 1, "2.00", "0") for number in range(130)]
    order = stand_in.records.add_order(9, at=BEGIN, lines=lines)
    stand_in.records.refund(order, BEGIN + timedelta(days=1))
    refunded = order["refunds"][0]["refundLineItems"]
    refunded.extend(
        {**refunded[0], "lineItem": {"__typename": "LineItem", "id": line["id"]}}
        for line in order["lineItems"][1:25]
    )
    for watermark in ({}, LOADED):
        own = [
            row for row in events(connector.pull(watermark)).values() if row["order_id"] == "#1009"
        ]
        kinds = [row["event_type"] for row in own]
        assert (kinds.count("purchase"), kinds.count("return")) == (130, 25)


def test_order_that_vanishes_before_its_further_lines_ends_the_pull(pair, monkeypatch):
    connector, stand_in = pair
    lines = [(f"SKU-{number}", 1, "2.00", "0") for number in range(130)]
    order = stand_in.records.add_order(9, at=BEGIN, lines=lines)
    found = stand_in._node
    monkeypatch.setattr(stand_in, "_node", lambda gid: None if gid == order["id"] else found(gid))
    assert failure(lambda: list(connector.pull(LOADED))).code == "changed_schema"


def test_discounts_and_codes_are_those_of_the_line_and_order(pair):
    connector, stand_in = pair
    stand_in.records.add_order(50, codes=["WIN-1"], lines=[("SKU-2", 3, "10.00", "6.00")])
    rows = events(connector.pull({}))
    bought = rows["shopify:50:500"]
    assert [float(bought[name]) for name in ("quantity", "amount", "discount")] == [3, 24, 6]
    assert rows["shopify:50:code:WIN-1"]["query"] == "WIN-1"


def test_test_orders_and_sales_without_a_buyer_are_left_out(pair):
    connector, stand_in = pair
    stand_in.records.add_order(60)["test"] = True
    stand_in.records.add_order(61, customer=None)
    stand_in.records.add_order(62, customer=None, email="Guest@Example.com")
    bought = {row["order_id"]: row["customer_id"] for row in events(connector.pull({})).values()}
    assert not {"#1060", "#1061"} & set(bought)
    assert bought["#1062"] == "guest@example.com"


def test_variants_are_items_with_their_own_title(pair):
    connector, stand_in = pair
    stand_in.records.add_product(9, variants=45, cost=None)
    stand_in.records.products[9]["variants"][0]["sku"] = ""
    for watermark in ({}, LOADED):
        items = by_id(connector.pull(watermark), "items")
        assert len([each for each in items if each.startswith("SKU-9-")]) == 44
        assert items["901"]["title"] == "Mug 9 - Size 1"
        assert items["901"]["margin"] is None


def test_sold_out_draft_and_gift_card_are_told_apart(pair):
    connector, stand_in = pair
    products = stand_in.records.products
    products[1]["status"] = "DRAFT"
    products[2]["variants"][0]["availableForSale"] = False
    products[3]["isGiftCard"] = True
    items = by_id(connector.pull({}), "items")
    stock = {name: items[name]["in_stock"] for name in ("SKU-1", "SKU-2", "SKU-3")}
    assert stock == {"SKU-1": False, "SKU-2": False, "SKU-3": True}
    assert items["SKU-3"]["attributes"]["recommendable"] is False


def test_check_names_missing_scopes_and_the_limit_of_sixty_days(pair):
    connector, stand_in = pair
    assert "orders" not in connector.check()
    stand_in.scopes.remove("read_all_orders")
    assert connector.check()["orders"] == "60 days"
    stand_in.scopes.remove("read_inventory")
    error = failure(connector.check)
    assert (error.code, error.detail) == ("scope_missing", "read_inventory")
    stand_in.scopes.remove("read_orders")
    error = failure(lambda: list(connector.pull(LOADED)))
    assert (error.code, "read_orders" in error.detail) == ("scope_missing", True)


def test_first_load_begins_at_the_given_day():
    with connected("shopify", since=stamp(BEGIN + timedelta(days=20))[:10]) as (connector, _):
        orders = {row["order_id"] for row in events(connector.pull({})).values()}
        assert len(orders) == 21


def test_credentials_of_an_app_give_a_token_that_is_renewed():
    with connected("shopify", token="", client_id=CLIENT_ID) as (connector, stand_in):
        assert connector.check()["currency"] == "GBP"
        assert len([call for call in stand_in.calls if "oauth" in call.path]) == 1
        stand_in.expires_in = 60
        with closing(Shopify(connector._access)) as another:
            another.check()
            another.check()
        assert len([call for call in stand_in.calls if "oauth" in call.path]) == 3


def test_wrong_client_secret_is_denied():
    changes = {"token": "", "client_id": CLIENT_ID, "client_secret": "wrong"}
    with connected("shopify", **changes) as (connector, _):
        assert failure(connector.check).code == "access_denied"


@pytest.mark.parametrize(
    "values",
    [
        {"shop": "http://shop.example", "token": "shpat_x"},
        {"shop": "my-shop.myshopify.com"},
        {"shop": "my-shop.myshopify.com", "client_id": "0a"},
    ],
)
def test_unencrypted_address_and_incomplete_access_are_refused(values):
    with pytest.raises(BadInput):
        Shopify(Access(values)).check()
