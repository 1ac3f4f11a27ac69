"""Preferences weigh and decay events without data leakage."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from retention.recommend.history import bought_between, buyers
from tests.retention.recommend.small_shop import preferences

CUTOFF = datetime(2025, 3, 1, tzinfo=UTC)


def event(day: int, *, customer="c1", item="i1", kind="purchase", **more) -> dict:
    """Return an event some days before the cutoff."""
    at = CUTOFF - timedelta(days=day)
    return {"customer_id": customer, "item_id": item, "event_type": kind, "occurred_at": at, **more}


@pytest.fixture
def lake_of(settings, database, tmp_path):
    """Import events into a lake."""
    from retention.lake import Lake
    from retention.lake.importing.import_files import import_files

    lake = Lake.open(settings)

    def load(*events: dict):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        pd.DataFrame(list(events)).to_parquet(file)
        import_files(lake, database, settings, "events", [str(file)])
        return lake

    return load


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def test_purchase_halves_in_a_half_life(lake_of):
    line = only(preferences(lake_of(event(30)), CUTOFF))
    assert line.decayed_30 == pytest.approx(0.5)
    assert line.decayed_90 == pytest.approx(0.5 ** (1 / 3))


def test_gap_is_mean_between_purchase_days(lake_of):
    line = only(
        preferences(
            lake_of(event(22), event(46), event(70), event(70, order_id="same-day")), CUTOFF
        )
    )
    assert (line.purchase_days, line.gap_days, line.days_since_purchase) == (3, 24, 22)


def test_returns_and_bad_reviews_count_against_an_item(lake_of):
    lake = lake_of(
        event(1),
        event(1, kind="return"),
        event(1, item="i2", kind="review", rating=1.0),
        event(1, item="i3", kind="review", rating=5.0),
    )
    weight = preferences(lake, CUTOFF).set_index("item_id").decayed_90
    assert weight["i1"] == pytest.approx(0)
    assert weight["i2"] < 0 < weight["i3"]


def test_cart_weighs_between_view_and_purchase(lake_of):
    lake = lake_of(event(1), event(1, item="i2", kind="cart"), event(1, item="i3", kind="view"))
    weight = preferences(lake, CUTOFF).set_index("item_id").decayed_90
    assert weight["i1"] > weight["i2"] > weight["i3"] > 0


def test_events_without_item_or_of_other_kinds_are_ignored(lake_of):
    lake = lake_of(event(1), event(2, item=None), event(3, item="i9", kind="support"))
    assert only(preferences(lake, CUTOFF)).item_id == "i1"


def test_reads_only_the_given_customers(lake_of):
    lake = lake_of(event(1), event(1, customer="c2"))
    assert only(preferences(lake, CUTOFF, ["c2", "nobody"])).customer_id == "c2"


def test_events_after_cutoff_or_known_later_are_not_read(lake_of):
    lake = lake_of(event(5))
    before = preferences(lake, CUTOFF), buyers(lake, CUTOFF)
    late = {"available_at": CUTOFF + timedelta(days=3)}
    lake_of(event(0), event(-1), event(9, item="i7", **late))
    pd.testing.assert_frame_equal(preferences(lake, CUTOFF), before[0])
    assert buyers(lake, CUTOFF) == before[1] == {"i1": 1}


def test_window_is_half_open_and_counts_what_is_known_later(lake_of):
    start, end = CUTOFF - timedelta(days=10), CUTOFF
    late = {"available_at": CUTOFF + timedelta(days=3)}
    lake = lake_of(
        event(10), event(0, item="i2"), event(11, item="i3"), event(2, item="i4", **late)
    )
    assert list(bought_between(lake, start, end).item_id) == ["i1", "i4"]


def test_buyers_are_customers_not_purchases(lake_of):
    lake = lake_of(event(1), event(2), event(3, customer="c2"), event(50, customer="c3"))
    assert buyers(lake, CUTOFF, timedelta(days=28)) == {"i1": 2}
    assert buyers(lake, CUTOFF) == {"i1": 3}
