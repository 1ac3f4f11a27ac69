"""Test the events of an order: no state of an order contradicts an earlier or later one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from retention.connect.shops import orders
from retention.connect.shops.orders import Line, Order, Refund

START = datetime(2026, 3, 1, tzinfo=UTC)


def order(lines, refunds=(), cancelled_at=None, **changes) -> Order:
    values = {"customer_id": "7", "currency": "GBP", "channel": "web"} | changes
    return Order(
        "1", "#1001", at=START, lines=lines, refunds=refunds, cancelled_at=cancelled_at, **values
    )


def line(quantity=2, amount="9.00", identity="10") -> Line:
    return Line(identity, "SKU-1", Decimal(quantity), Decimal(amount))


def refund(days, quantity=1, amount="4.50", line_id: str | None = "10") -> Refund:
    at = START + timedelta(days=days)
    return Refund(f"r{days}", at, line_id, Decimal(quantity), Decimal(amount))


def returned(*states: Order) -> Decimal:
    """Return what the lake counts as returned after it has seen these states."""
    stored: dict[str, Decimal] = {}
    for state in states:
        for event in orders.events(state, "shop"):
            if event["event_type"] == "return":
                stored.setdefault(event["event_id"], event["amount"])
    return sum(stored.values(), Decimal(0))


def test_cancellation_and_refund_return_the_order_once():
    half_paid_back = order([line()], [refund(1)])
    then_cancelled = order([line()], [refund(1)], START + timedelta(days=2))
    cancelled = order([line()], (), START + timedelta(days=1))
    then_refunded = order([line()], [refund(2, 2, "9.00")], START + timedelta(days=1))
    for before, after in ((half_paid_back, then_cancelled), (cancelled, then_refunded)):
        assert returned(before, after) == returned(after) == Decimal("-9.00")


def test_cancellation_returns_what_an_amount_without_pieces_left():
    lines = [line(2, "60.00"), line(1, "40.00", "11")]
    paid_back = [refund(1, 0, "50.00", None)]
    cancelled = order(lines, paid_back, START + timedelta(days=2))
    assert returned(order(lines, paid_back), cancelled) == returned(cancelled) == Decimal("-100.00")
    units = {
        event["event_id"]: event["amount"]
        for event in orders.events(cancelled, "shop")
        if event["event_type"] == "return"
    }
    assert units == {
        "shop:1:returned:10:1": -15,
        "shop:1:returned:10:2": -15,
        "shop:1:returned:11:1": -20,
        "shop:1:refund:r1": -50,
    }


def test_amount_with_shipping_leaves_nothing_to_return():
    paid_back = [refund(1, 0, "12.00", None)]
    assert returned(order([line()], paid_back, START + timedelta(days=2))) == Decimal("-12.00")


def test_amount_without_pieces_is_a_return_without_item():
    partly = order([line()], [refund(1, 0, "2.00", None)])
    (event,) = [each for each in orders.events(partly, "shop") if each["event_type"] == "return"]
    assert (event["item_id"], event["quantity"], event["amount"]) == (None, None, Decimal("-2.00"))


def test_goods_by_weight_are_returned_as_one_piece():
    weighed = order([line("0.35", "7.00")], [refund(1, "0.35", "7.00")])
    assert returned(weighed, order([line("0.35", "7.00")], (), START)) == Decimal("-7.00")


def test_code_on_an_order_is_a_redemption():
    used = order([line()], codes=["7KQ2-M9ZD-4HT6"])
    (event,) = [each for each in orders.events(used, "shop") if "query" in each]
    assert (event["event_type"], event["query"]) == ("coupon_redeem", "7KQ2-M9ZD-4HT6")


def test_guest_is_a_customer_by_e_mail_address_without_consent():
    guest = order([line()], customer_id=None, email="ada@example.com", name="Ada Byron")
    (row,) = orders.guests([guest, guest])
    assert row["customer_id"] == row["email"] == "ada@example.com"
    assert "marketing_consent" not in row


@given(
    quantities=st.lists(st.integers(1, 3), max_size=4),
    cancelled=st.booleans(),
    chooser=st.randoms(use_true_random=False),
)
def test_order_in_which_states_are_seen_does_not_matter(quantities, cancelled, chooser):
    """The final state returns the same as any sequence of earlier states that ends with it."""
    pieces = [line(sum(quantities) or 1, str(Decimal("4.50") * (sum(quantities) or 1)))]
    refunds = [
        refund(day, quantity, str(Decimal("4.50") * quantity))
        for day, quantity in enumerate(quantities, 1)
    ]
    states = [order(pieces, refunds[:number]) for number in range(len(refunds) + 1)]
    if cancelled:
        states.append(order(pieces, refunds, START + timedelta(days=9)))
    seen = chooser.choices(states, k=3)
    expected = returned(states[-1])
    assert returned(*seen, states[-1]) == returned(states[-1], *seen) == expected
    assert -expected <= pieces[0].amount
