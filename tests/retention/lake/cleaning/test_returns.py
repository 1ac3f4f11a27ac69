"""Returns find the purchase they undo.

A wholly cancelled order is no order, once that is known and no earlier.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from retention.features import NAMES, build
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.quality import quality
from retention.settings import Settings
from tests import readonly

HEADER = "customer_id,event_type,occurred_at,order_id,item_id,quantity,amount\n"
FAR = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = ("tea", "cup", "mug", "pot", "jam", "pan", "rug", "bow")  # which line comes first is chance


def _sold(order: str, day: int, item: str, quantity: float, amount: float | str) -> str:
    """A line of January; the first letter of an order names its customer."""
    at = f"2025-01-{day:02} 10:00:00"
    return f"{order[0]},purchase,{at},{order},{item},{quantity},{amount}"


def _back(order: str, day: int, item: str, quantity: float | str, amount: float | str) -> str:
    return f"{order[0]},return,2025-01-{day:02} 10:00:00,{order},{item},{quantity},{amount}"


LINES = [
    # The latest purchase before the return of which enough is left.
    *(_sold("a1", 1, "tea", 5, 5), _sold("a2", 2, "tea", 5, 5), _sold("a3", 3, "tea", 2, 2)),
    *(_sold("a4", 9, "tea", 9, 9), _back("a-1", 4, "tea", -3, -3), _back("a-2", 5, "tea", -3, -3)),
    *(_back("a-3", 6, "tea", -3, -3), _back("b-1", 6, "tea", -1, -1)),
    # An order is cancelled with its last line.
    *(_sold("c1", 1, "tea", 5, 5), _sold("c1", 1, "cup", 1, 8)),
    *(_back("c-1", 2, "tea", -5, -5), _back("c-2", 20, "cup", -1, -8)),
    # An item on two lines is returned line by line: the return names the order, or has a number.
    *(_sold(order, 1, item, 1, 5) for order in ("d1", "e1") for item in ITEMS),
    *(_sold(order, 1, item, 2, 10) for order in ("d1", "e1") for item in ITEMS),
    *(_back(order, 2, item, -1, -5) for order in ("d1", "e-1") for item in ITEMS),
    *(_back(order, 3, item, -2, -10) for order in ("d1", "e-1") for item in ITEMS),
    # One return undoes several lines.
    *(_sold("f1", 1, "tea", 1, 5), _sold("f1", 1, "tea", 2, 10), _sold("f2", 2, "tea", 2, 10)),
    *(_back("f-1", 3, "tea", -3, -15), _sold("g1", 1, "cup", 2, 10), _sold("g1", 1, "cup", 2, 9)),
    *(_back("g-1", 3, "cup", -3, -15), _back("g-2", 4, "cup", -1, -5)),
    # A return without a quantity has that of its amount, or one piece.
    *(_sold("h1", 1, "tea", 3, 15), _back("h-1", 2, "tea", "", ""), _back("h-2", 3, "tea", "", 0)),
    *(
        _back("h-3", 4, "tea", "", -5),
        _sold("i1", 1, "cup", 3, 15),
        _back("i-1", 2, "cup", "", -10),
    ),
    *(_sold("j1", 1, "mug", 3, ""), _back("j-1", 2, "mug", "", -10)),
    # It matches the line of an equal price.
    *(_sold("k1", 1, item, 1, 5) for item in ITEMS),
    *(_sold("k1", 1, item, 2, 10) for item in ITEMS),
    *(_back("k-1", 2, item, "", -10) for item in ITEMS),
    # A return with the number of an order undoes that order, without an item the whole order.
    *(_sold("l1", 1, "tea", 1, 5), _sold("l2", 2, "tea", 1, 5), _back("l1", 3, "tea", -1, -5)),
    *(_sold("m1", 2, "tea", 1, 5), _sold("m1", 2, "cup", 1, 8), _back("m1", 3, "", "", -13)),
]
CANCELLED = {"c1", "d1", "e1", "f1", "g1", "h1", "l1", "m1"}


@pytest.fixture(scope="module")
def returned(tmp_path_factory) -> Iterator[tuple[Lake, Settings]]:
    """A lake with all these lines, and its settings."""
    folder = tmp_path_factory.mktemp("returned")
    (folder / "events.csv").write_text(HEADER + "\n".join(LINES) + "\n")
    settings = Settings(home=folder / "home", _env_file=None)
    lake = Lake.open(settings)
    import_files(lake, None, settings, "events", [str(folder / "events.csv")])
    with readonly.protected(lake.root):
        yield lake, settings


def _types(lake, before=FAR):
    """Type by order id."""
    events = lake.table("events", before).execute()
    return {order: set(group.event_type) for order, group in events.groupby("order_id")}


def _cancelled(lake, before=FAR):
    return {order for order, types in _types(lake, before).items() if "cancelled" in types}


def _undone(lake, before=FAR):
    """The order undone by each return's own id."""
    rows = lake.returns(before).to_pyarrow().to_pylist()
    return {row["order_id"]: row["undoes_order_id"] for row in rows}


def test_return_undoes_an_order_that_has_enough_left(returned):
    assert _undone(returned[0]) == {
        **{"a-1": "a2", "a-2": "a1", "a-3": None, "b-1": None, "c-1": "c1", "c-2": "c1"},
        **{"d1": "d1", "e-1": "e1", "f-1": "f1", "g-1": "g1", "g-2": "g1"},
        **{"h-1": "h1", "h-2": "h1", "h-3": "h1", "i-1": "i1", "j-1": "j1", "k-1": "k1"},
        **{"l1": "l1", "m1": None},
    }


def test_order_is_cancelled_only_with_its_last_line(returned):
    lake, settings = returned
    assert _cancelled(lake, datetime(2025, 1, 4, tzinfo=UTC)) == CANCELLED - {"c1", "g1", "h1"}
    assert _cancelled(lake, datetime(2025, 1, 10, tzinfo=UTC)) == CANCELLED - {"c1"}
    assert _cancelled(lake) == CANCELLED
    counts = quality(lake, settings)["returns"]
    assert counts["cancelled_orders"] == len(CANCELLED)
    assert (counts["returns"], counts["matched"]) == (56, 53)
    # All lines of an order are cancelled at once.
    assert not any({"cancelled", "purchase"} <= types for types in _types(lake).values())


def test_return_has_the_quantity_of_what_it_undoes(returned):
    lines = returned[0].returns(FAR).to_pandas()
    lines = lines[lines.undoes_order_id.notna()]
    found = {order: sorted(group.quantity) for order, group in lines.groupby("order_id")}
    by_line = [1] * len(ITEMS) + [2] * len(ITEMS)
    assert found.items() >= {"d1": by_line, "e-1": by_line, "k-1": [2] * len(ITEMS)}.items()
    assert {order: sum(found[order]) for order in ("f-1", "g-1", "g-2", "i-1", "j-1")} == {
        **{"f-1": 3, "g-1": 3, "g-2": 1, "i-1": 2, "j-1": 1}
    }
    assert [found[order] for order in ("h-1", "h-2", "h-3")] == [[1], [1], [1]]


def test_cancelled_bulk_order_is_no_order(lake, import_file):
    rows = (
        "12346,purchase,2025-01-18 10:01:00,541431,23166,74215,77183.60\n"
        "12346,return,2025-01-18 10:17:00,C541433,23166,-74215,-77183.60\n"
        "12346,purchase,2025-02-01 10:00:00,541500,23166,10,10.40\n"
    )
    import_file(HEADER + rows)
    assert _undone(lake) == {"C541433": "541431"}
    assert _types(lake) == {"541431": {"cancelled"}, "C541433": {"return"}, "541500": {"purchase"}}
    (customer,) = build(lake, datetime(2025, 3, 1, tzinfo=UTC)).execute().itertuples()
    assert (customer.orders_all, customer.spend_all) == (1, 10.4)


@pytest.mark.nightly
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
    late = pd.to_timedelta(np.where(rng.random(400) < 0.2, 20, 0), unit="D")
    frame["available_at"] = frame.occurred_at + late
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
