"""Returns find the purchase they undo.

A wholly cancelled order is no order, once that is known and no earlier.
"""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from retention.features import NAMES, build
from retention.lake.quality import quality

HEADER = "customer_id,event_type,occurred_at,order_id,item_id,quantity,amount\n"
FAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def bring(import_file):
    """Import some lines as one file."""
    return lambda *lines: import_file(HEADER + "\n".join(lines) + "\n")


def _types(lake, before=FAR):
    """Type by order id."""
    events = lake.table("events", before).execute()
    return {order: set(group.event_type) for order, group in events.groupby("order_id")}


def _undone(lake, before=FAR):
    """The order undone by each return's own id."""
    rows = lake.returns(before).to_pyarrow().to_pylist()
    return {row["order_id"]: row["undoes_order_id"] for row in rows}


def test_cancelled_bulk_order_is_no_order(lake, bring):
    bring(
        "12346,purchase,2025-01-18 10:01:00,541431,23166,74215,77183.60",
        "12346,return,2025-01-18 10:17:00,C541433,23166,-74215,-77183.60",
        "12346,purchase,2025-02-01 10:00:00,541500,23166,10,10.40",
    )
    assert _undone(lake) == {"C541433": "541431"}
    assert _types(lake) == {"541431": {"cancelled"}, "C541433": {"return"}, "541500": {"purchase"}}
    (customer,) = build(lake, datetime(2025, 3, 1, tzinfo=UTC)).execute().itertuples()
    assert (customer.orders_all, customer.spend_all) == (1, 10.4)


def test_return_matches_latest_purchase_with_enough_left(lake, bring):
    bring(
        "1,purchase,2025-01-01 10:00:00,a,tea,5,5",
        "1,purchase,2025-01-02 10:00:00,b,tea,5,5",
        "1,purchase,2025-01-03 10:00:00,c,tea,2,2",
        "1,purchase,2025-01-09 10:00:00,d,tea,9,9",
        "1,return,2025-01-04 10:00:00,C1,tea,-3,-3",
        "1,return,2025-01-05 10:00:00,C2,tea,-3,-3",
        "1,return,2025-01-06 10:00:00,C3,tea,-3,-3",
        "2,return,2025-01-06 10:00:00,C4,tea,-1,-1",
    )
    assert _undone(lake) == {"C1": "b", "C2": "a", "C3": None, "C4": None}
    assert all("cancelled" not in types for types in _types(lake).values())


def test_order_is_cancelled_only_with_its_last_line(lake, bring):
    bring(
        "1,purchase,2025-01-01 10:00:00,a,tea,5,5",
        "1,purchase,2025-01-01 10:00:00,a,cup,1,8",
        "1,return,2025-01-02 10:00:00,C1,tea,-5,-5",
        "1,return,2025-01-20 10:00:00,C2,cup,-1,-8",
    )
    assert _types(lake, datetime(2025, 1, 10, tzinfo=UTC))["a"] == {"purchase"}
    assert _types(lake)["a"] == {"cancelled"}


# The return names the order, or has a number of its own.
@pytest.mark.parametrize("order", ["a", "C1"])
def test_item_on_two_lines_is_returned_line_by_line(lake, bring, order):
    lines = []
    # Which line comes first is chance.
    for item in ("tea", "cup", "mug", "pot", "jam", "pan", "rug", "bow"):
        lines += [
            f"1,purchase,2025-01-01 10:00:00,a,{item},1,5",
            f"1,purchase,2025-01-01 10:00:00,a,{item},2,10",
            f"1,return,2025-01-02 10:00:00,{order},{item},-1,-5",
            f"1,return,2025-01-03 10:00:00,{order},{item},-2,-10",
        ]
    bring(*lines)
    assert set(_undone(lake).values()) == {"a"}
    assert _types(lake)["a"] - {"return"} == {"cancelled"}


def test_named_order_matches_lines_by_quantity(lake, bring):
    bring(
        "1,purchase,2025-01-01 10:00:00,a,tea,1,5",
        "1,purchase,2025-01-01 10:00:05,a,tea,2,10",
        "1,return,2025-01-02 10:00:00,a,tea,-1,-5",
        "1,return,2025-01-03 10:00:00,a,tea,-2,-10",
    )
    undone = lake.returns(FAR).to_pyarrow().to_pylist()
    assert {row["quantity"]: row["undoes_order_id"] for row in undone} == {1: "a", 2: "a"}
    assert _types(lake)["a"] - {"return"} == {"cancelled"}


def test_one_return_can_undo_several_lines(lake, bring, settings):
    bring(
        "1,purchase,2025-01-01 10:00:00,a,tea,1,5",
        "1,purchase,2025-01-01 10:00:00,a,tea,2,10",
        "1,purchase,2025-01-02 10:00:00,b,tea,2,10",
        "1,return,2025-01-03 10:00:00,C1,tea,-3,-15",
        "2,purchase,2025-01-01 10:00:00,c,cup,2,10",
        "2,purchase,2025-01-01 10:00:00,c,cup,2,9",
        "2,return,2025-01-03 10:00:00,C2,cup,-3,-15",
        "2,return,2025-01-04 10:00:00,C3,cup,-1,-5",
    )
    assert _undone(lake) == {"C1": "a", "C2": "c", "C3": "c"}
    before = _types(lake, datetime(2025, 1, 4, tzinfo=UTC))
    assert (before["a"], before["b"], before["c"]) == ({"cancelled"}, {"purchase"}, {"purchase"})
    assert _types(lake)["c"] == {"cancelled"}
    back = lake.returns(FAR).to_pandas().groupby("event_id").quantity.sum()
    assert sorted(back) == [1, 3, 3]
    counts = quality(lake, settings)["returns"]
    assert (counts["returns"], counts["matched"], counts["cancelled_orders"]) == (3, 3, 2)


def test_return_without_quantity_uses_its_amount_or_one(lake, bring):
    bring(
        "1,purchase,2025-01-01 10:00:00,a,tea,3,15",
        "1,return,2025-01-02 10:00:00,C1,tea,,",
        "1,return,2025-01-03 10:00:00,C2,tea,,0",
        "1,return,2025-01-04 10:00:00,C3,tea,,-5",
        "2,purchase,2025-01-01 10:00:00,b,cup,3,15",
        "2,return,2025-01-02 10:00:00,C4,cup,,-10",
        "3,purchase,2025-01-01 10:00:00,c,mug,3,",
        "3,return,2025-01-02 10:00:00,C5,mug,,-10",
    )
    undone = lake.returns(FAR).to_pyarrow().to_pylist()
    found = {row["order_id"]: (row["undoes_order_id"], row["quantity"]) for row in undone}
    assert found == {"C1": ("a", 1), "C2": ("a", 1), "C3": ("a", 1), "C4": ("b", 2), "C5": ("c", 1)}
    assert _types(lake, datetime(2025, 1, 4, tzinfo=UTC))["a"] == {"purchase"}
    types = _types(lake)
    assert (types["a"], types["b"], types["c"]) == ({"cancelled"}, {"purchase"}, {"purchase"})


def test_refund_without_quantity_matches_the_line_of_equal_price(lake, bring):
    lines = []
    # Which line comes first is chance.
    for item in ("tea", "cup", "mug", "pot", "jam", "pan", "rug", "bow"):
        lines += [
            f"1,purchase,2025-01-01 10:00:00,a,{item},1,5",
            f"1,purchase,2025-01-01 10:00:00,a,{item},2,10",
            f"1,return,2025-01-02 10:00:00,C1,{item},,-10",
        ]
    bring(*lines)
    assert {row["quantity"] for row in lake.returns(FAR).to_pyarrow().to_pylist()} == {2}


def test_return_with_an_order_id_undoes_that_order(lake, bring):
    bring(
        "1,purchase,2025-01-01 10:00:00,a,tea,1,5",
        "1,purchase,2025-01-02 10:00:00,b,tea,1,5",
        "1,return,2025-01-03 10:00:00,a,tea,-1,-5",
        "2,purchase,2025-01-02 10:00:00,c,tea,1,5",
        "2,purchase,2025-01-02 10:00:00,c,cup,1,8",
        "2,return,2025-01-03 10:00:00,c,,,-13",
    )
    assert _types(lake) == {
        "a": {"cancelled", "return"},
        "b": {"purchase"},
        "c": {"cancelled", "return"},
    }


def test_later_cancellation_does_not_change_the_past(lake, import_file):
    rng = np.random.default_rng(3)
    days = np.sort(rng.uniform(0, 90, 400))
    columns = {
        "customer_id": [f"c{n}" for n in rng.integers(0, 25, 400)],
        "event_type": np.where(rng.random(400) < 0.25, "return", "purchase"),
        "occurred_at": pd.Timestamp("2025-01-01")
        + pd.to_timedelta(np.floor(days * 86_400), unit="s"),
        "order_id": [f"o{n}" for n in range(400)],
        "item_id": [f"i{n}" for n in rng.integers(0, 4, 400)],
        "quantity": rng.integers(1, 4, 400).astype(float),
        "amount": 5.0,
    }
    frame = pd.DataFrame(columns)
    frame.loc[7, "event_type"] = frame.loc[9, "event_type"] = "return"
    frame["available_at"] = frame.occurred_at + pd.to_timedelta(
        np.where(rng.random(400) < 0.2, 20, 0), unit="D"
    )
    cutoff = datetime(2025, 2, 15, tzinfo=UTC)
    past = frame[(frame.occurred_at < "2025-02-15") & (frame.available_at < "2025-02-15")]
    seen = []
    for part in (past, frame):
        import_file(part, name="events.parquet")
        features = build(lake, cutoff).execute().sort_values("customer_id").reset_index(drop=True)
        seen.append((features, _types(lake, cutoff), _undone(lake, cutoff)))
    pd.testing.assert_frame_equal(seen[0][0][list(NAMES)], seen[1][0][list(NAMES)])
    assert seen[0][1:] == seen[1][1:]
    assert any("cancelled" in types for types in seen[0][1].values())


def test_no_return_tables_without_returns(shop):
    assert shop.lake.returns().count().execute() == 0
    assert set(shop.lake.table("events").execute().event_type) == {"purchase", "coupon_redeem"}
