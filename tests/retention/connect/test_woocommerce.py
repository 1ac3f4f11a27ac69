"""Test what only WooCommerce has: paging by the time of change, states and consent by a plugin."""

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.retention.connect.shops import connected
from tests.standins.woocommerce import BEGIN, stamp


@pytest.fixture
def pair():
    """A connector and its stand-in."""
    with connected("woocommerce") as pair:
        yield pair


def rows(pages, table="events") -> list[dict]:
    return [row for page in pages if page.table == table for row in page.rows]


def test_order_that_changes_during_a_pull_hides_no_other(pair):
    connector, stand_in = pair
    for number in range(100, 420):
        stand_in.add_order(number, at=BEGIN + timedelta(minutes=number))
    seen = set()
    for page in connector.pull({}):
        seen |= {row["order_id"] for row in page.rows if page.table == "events"}
        # It moves to the end, and all others move up by one.
        oldest = min(stand_in.orders.values(), key=lambda order: order["date_modified_gmt"])
        oldest["date_modified_gmt"] = stamp(BEGIN + timedelta(days=90 + len(seen)))
    assert seen == {str(number) for number in stand_in.orders}


def test_orders_that_changed_in_the_same_second_are_all_read(pair):
    connector, stand_in = pair
    for number in range(100, 350):
        stand_in.add_order(number, at=BEGIN)
    watermark: dict = {}
    seen = set()
    for _ in range(12):  # a pull that dies after each page
        page = None
        for page in connector.pull(watermark):
            seen |= {row["order_id"] for row in page.rows if page.table == "events"}
            if page.table == "events" and page.rows:
                break
        assert page is not None
        watermark = page.watermark
    assert {str(number) for number in range(100, 350)} <= seen


def test_state_of_an_order_decides_its_rows(pair):
    connector, stand_in = pair
    returned = ["purchase", "return", "return"]
    states = {
        ("processing", True): ["purchase"],
        ("completed", True): ["purchase"],
        ("packed", True): ["purchase"],  # a state of the shop's own
        **{(status, False): [] for status in ("pending", "on-hold", "failed", "cancelled")},
        **{(status, True): returned for status in ("cancelled", "refunded")},
    }
    for number, (status, is_paid) in enumerate(states, 101):
        order = stand_in.add_order(number, status=status)
        order["date_paid_gmt"] = stamp(BEGIN) if is_paid else None
    found = {str(number): [] for number in range(101, 101 + len(states))}
    for row in rows(connector.pull({})):
        found.get(row["order_id"], []).append(row["event_type"])
    assert dict(zip(states, found.values(), strict=True)) == states


def refunded_by_amount(stand_in, order, number, at) -> None:
    """Refund half of an order without naming a line."""
    order["refunds"].append({"id": number, "reason": "", "total": "-4.50"})
    order["date_modified_gmt"] = stamp(at)
    stand_in.refunds.setdefault(order["id"], []).append(
        {"id": number, "date_created_gmt": stamp(at), "amount": "4.50", "line_items": []}
    )


def test_order_that_was_refunded_in_two_amounts_is_returned_once(pair):
    connector, stand_in = pair
    order = stand_in.add_order(98, status="processing")
    back: dict[str, Decimal] = {}

    def pull():
        for row in rows(connector.pull({})):
            if row["order_id"] == "98" and row["event_type"] == "return":
                back.setdefault(row["event_id"], row["amount"])
        return sum(back.values())

    refunded_by_amount(stand_in, order, 9801, BEGIN + timedelta(days=1))
    assert pull() == Decimal("-4.50")
    refunded_by_amount(stand_in, order, 9802, BEGIN + timedelta(days=2))
    order["status"] = "refunded"
    assert pull() == -9
    order["date_modified_gmt"] = stamp(BEGIN + timedelta(days=3))  # a later note
    assert pull() == -9


def test_refund_that_is_newer_than_the_delivery_waits_for_the_next_one(pair):
    connector, stand_in = pair
    order = stand_in.add_order(98, status="processing")
    refunded_by_amount(stand_in, order, 9801, BEGIN + timedelta(days=1))
    _, body = stand_in.delivery("order.updated", order)
    refunded_by_amount(stand_in, order, 9802, BEGIN + timedelta(days=2))
    pages = connector.read("order.updated", body, "1").pages
    ids = [row["event_id"] for row in rows(pages) if row["event_type"] == "return"]
    assert ids == ["woocommerce:98:refund:9801"]


def test_consent_is_unknown_without_the_field_of_a_plugin():
    with connected("woocommerce", consent_field="") as (connector, _):
        found = rows(connector.pull({}), "customers")
    assert found
    assert all("marketing_consent" not in row for row in found)


def test_customers_are_read_once_a_day(pair):
    connector, stand_in = pair
    watermark = list(connector.pull({}))[-1].watermark
    before = len(stand_in.calls)
    list(connector.pull(watermark))
    assert not [call for call in stand_in.calls[before:] if call.path.endswith("/customers")]


def test_variations_are_items_with_their_options(pair):
    connector, stand_in = pair
    stand_in.add_product(9, variations=120)
    items = {row["item_id"]: row for row in rows(connector.pull({}), "items")}
    assert len([each for each in items if each.startswith("SKU-9-")]) == 120
    assert items["SKU-9-1"]["title"] == "Mug 9 - 1"
    assert items["SKU-9-1"]["attributes"]["image"] == "https://cdn.example/mug-9.jpg"
    assert "SKU-9" not in items


def test_guest_is_read_with_the_address_of_the_bill(pair):
    connector, stand_in = pair
    stand_in.add_order(99, customer=None, email="Guest@Example.com")
    pages = list(connector.pull({}))
    guests = rows(pages, "customers")
    assert any(row["customer_id"] == "guest@example.com" for row in guests)
