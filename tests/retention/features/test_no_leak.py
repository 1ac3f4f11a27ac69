"""Tests that features never use events at or after the cutoff."""

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention.features import FEATURES, NAMES, build
from retention.lake.schema import EVENT_TYPES
from tests import readonly
from tests.retention.features import every


@pytest.fixture(scope="module")
def tables():
    return every.frames()


@pytest.fixture(scope="module")
def base(tables, tmp_path_factory):
    home = tmp_path_factory.mktemp("every")
    before = features(every.lake(home, tables))
    with readonly.protected(home):
        yield home, before


def features(lake, cutoff=every.CUTOFF):
    return build(lake, cutoff, window=every.WINDOW).order_by("customer_id").execute()


def with_more(home, added, cutoff=every.CUTOFF):
    """Return the features of the same shop after more rows arrived."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        readonly.copy_folder(home, copy)
        every.add(copy / "lake", added)
        return features(every.lake(copy, {}), cutoff)


def test_every_feature_has_values_and_varies(base):
    _, frame = base
    assert list(frame.columns) == ["customer_id", *NAMES]
    assert len(FEATURES) == len(NAMES)
    assert not [name for name in NAMES if frame[name].isna().all() or frame[name].nunique() < 2]


FUTURE = st.lists(
    st.fixed_dictionaries(
        {
            "event_type": st.sampled_from(EVENT_TYPES),
            "customer_id": st.sampled_from(["c01", "c02", "c17", "new"]),
            "seconds": st.integers(0, 400 * 86_400),
            "late": st.booleans(),  # happened before, but nobody could know of it yet
            "item_id": st.sampled_from(["i1", "i7", "i99", None]),
            "order_id": st.sampled_from(["o1", "o2", "x", None]),
            "amount": st.sampled_from([5.0, -3.0, None]),
            "rating": st.sampled_from([1.0, None]),
            "channel": st.sampled_from(["web", "store", None]),
        }
    ),
    min_size=1,
    max_size=40,  # an example takes a second, and a row nothing
)


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=FUTURE)
def test_future_events_change_no_feature(base, rows):
    home, before = base
    frame = pd.DataFrame(rows)
    ahead = pd.to_timedelta(frame.pop("seconds"), unit="s")
    late = frame.pop("late")
    frame["occurred_at"] = pd.Timestamp(every.CUTOFF) + ahead.where(~late, -ahead)
    frame["available_at"] = (pd.Timestamp(every.CUTOFF) + ahead).where(late)
    frame["event_id"] = [f"future {number}" for number in range(len(frame))]
    row = {"campaign_id": "next", "arm": "treatment", "sent_at": every.CUTOFF}
    future = {
        "events": frame,
        "items": pd.DataFrame({"item_id": ["i1000"], "category": ["kind 1"]}),
        "treatments": pd.DataFrame({"customer_id": ["c01", "c02"]}).assign(**row),
        "text_signals": _later_moods(),
    }
    pd.testing.assert_frame_equal(with_more(home, future), before)


def _later_moods() -> pd.DataFrame:
    """Moods of texts at or after the cutoff, or read only then."""
    late = {"occurred_at": every.day(2), "available_at": every.CUTOFF}
    rows = [{"occurred_at": every.CUTOFF, "available_at": None}, late]
    return pd.DataFrame(rows).assign(text_id=["next", "late"], customer_id="c01", mood=0.0)


def test_event_window_is_half_open(base):
    home, before = base
    customers = [f"c{number:02d}" for number in range(len(EVENT_TYPES))]  # a kind of event each
    row = {"customer_id": customers, "event_type": list(EVENT_TYPES), "order_id": "edge"}
    row |= {"item_id": "i3", "rating": 2.0}
    at = every.event(**row, occurred_at=every.CUTOFF)
    pd.testing.assert_frame_equal(with_more(home, at), before)
    added = every.event(**row, occurred_at=every.CUTOFF - timedelta(microseconds=1))
    after, before = (each.set_index("customer_id") for each in (with_more(home, added), before))
    changed = (after.fillna(-1) != before.fillna(-1)).any(axis=1)
    assert sorted(changed[changed].index) == customers


def test_late_events_count_from_their_available_time(base):
    home, before = base
    late = every.event(occurred_at=every.day(3), available_at=every.CUTOFF, order_id="late")
    pd.testing.assert_frame_equal(with_more(home, late), before)
    known = every.event(occurred_at=every.day(3), available_at=every.day(0.001), order_id="late")
    order_counts = with_more(home, known).set_index("customer_id").orders_all
    assert order_counts["c01"] == before.set_index("customer_id").orders_all["c01"] + 1


def test_ignores_campaign_outcomes(base, tables, tmp_path):
    _, before = base
    known = tables["treatments"].assign(purchased=True, amount=99.0, redeemed=True)
    lake = every.lake(tmp_path, tables | {"treatments": known})
    pd.testing.assert_frame_equal(features(lake), before)


def test_row_order_does_not_matter(base, tables, tmp_path):
    _, before = base
    mixed = {name: frame.sample(frac=1, random_state=5) for name, frame in tables.items()}
    pd.testing.assert_frame_equal(features(every.lake(tmp_path, mixed)), before)


def test_empty_lake_gives_no_rows(tmp_path):
    frame = features(every.lake(tmp_path, {}))
    assert list(frame.columns) == ["customer_id", *NAMES]
    assert not len(frame)
