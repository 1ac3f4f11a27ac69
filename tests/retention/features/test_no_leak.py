"""Nothing at or after the cutoff is seen; neither the order of the rows nor a second import matters."""

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention.features import FEATURES, NAMES, build
from retention.lake.importing import import_files
from retention.lake.schema import EVENT_TYPES
from tests import readonly
from tests import shop as tiny
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
    return build(lake, cutoff, **every.ARGS).order_by("customer_id").execute()


def with_more(home, added, cutoff=every.CUTOFF):
    """The features of the same shop after these rows have come in."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        readonly.copy_folder(home, copy)
        every.add(copy / "lake", added)
        return features(every.lake(copy, {}), cutoff)


def test_everything_the_catalogue_names_is_known_of_somebody(base):
    _, found = base
    assert list(found.columns) == ["customer_id", *NAMES]
    assert len(FEATURES) == len(NAMES)
    assert not [name for name in NAMES if found[name].isna().all() or found[name].nunique() < 2]


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
    max_size=6,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=FUTURE)
def test_no_future_event_changes_a_feature(base, rows):
    home, before = base
    frame = pd.DataFrame(rows)
    ahead = pd.to_timedelta(frame.pop("seconds"), unit="s")
    late = frame.pop("late")
    frame["occurred_at"] = pd.Timestamp(every.CUTOFF) + ahead.where(~late, -ahead)
    frame["available_at"] = (pd.Timestamp(every.CUTOFF) + ahead).where(late)
    frame["event_id"] = [f"future {number}" for number in range(len(frame))]
    future = {
        "events": frame,
        "items": pd.DataFrame({"item_id": ["i1000"], "category": ["kind 1"]}),
        "treatments": pd.DataFrame(
            {
                "campaign_id": "next",
                "customer_id": ["c01", "c02"],
                "arm": "treatment",
                "sent_at": every.CUTOFF,
            }
        ),
    }
    pd.testing.assert_frame_equal(with_more(home, future), before)


def test_the_interval_is_half_open(base):
    home, before = base
    who = [f"c{number:02d}" for number in range(len(EVENT_TYPES))]  # a kind of event each
    row = {
        "customer_id": who,
        "event_type": list(EVENT_TYPES),
        "order_id": "edge",
        "item_id": "i3",
        "rating": 2.0,
    }
    at = every.event(**row, occurred_at=every.CUTOFF)
    pd.testing.assert_frame_equal(with_more(home, at), before)
    found = with_more(
        home, every.event(**row, occurred_at=every.CUTOFF - timedelta(microseconds=1))
    )
    changed = (
        found.set_index("customer_id").fillna(-1) != before.set_index("customer_id").fillna(-1)
    ).any(axis=1)
    assert sorted(changed[changed].index) == who


def test_what_became_known_later_counts_from_then_on(base):
    home, before = base
    late = every.event(occurred_at=every.day(3), available_at=every.CUTOFF, order_id="late")
    pd.testing.assert_frame_equal(with_more(home, late), before)
    known = every.event(occurred_at=every.day(3), available_at=every.day(0.001), order_id="late")
    found = with_more(home, known).set_index("customer_id").orders_all
    assert found["c01"] == before.set_index("customer_id").orders_all["c01"] + 1


def test_outcomes_of_a_campaign_are_not_looked_at(base, tables, tmp_path):
    _, before = base
    known = tables["treatments"].assign(purchased=True, amount=99.0, redeemed=True)
    pd.testing.assert_frame_equal(
        features(every.lake(tmp_path, tables | {"treatments": known})), before
    )


def test_the_order_of_the_rows_is_irrelevant(base, tables, tmp_path):
    _, before = base
    mixed = {name: frame.sample(frac=1, random_state=5) for name, frame in tables.items()}
    pd.testing.assert_frame_equal(features(every.lake(tmp_path, mixed)), before)


def test_a_second_import_is_irrelevant(tmp_path):
    made = tiny.build(tmp_path / "home", customers=30, days=60)
    before = features(made.lake, made.end)
    report = import_files(
        made.lake,
        made.database,
        made.settings,
        "events",
        [str(made.settings.home / "events.parquet")],
    )
    assert report.rows_accepted == 0
    pd.testing.assert_frame_equal(features(made.lake, made.end), before)


def test_an_empty_lake_has_nobody(tmp_path):
    found = features(every.lake(tmp_path, {}))
    assert list(found.columns) == ["customer_id", *NAMES]
    assert not len(found)
