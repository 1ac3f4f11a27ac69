"""Test late and out-of-order events.

What counts at a cutoff is what had happened and was known, however it came in.
"""

from datetime import UTC, datetime, timedelta

import pandas as pd
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retention.lake import Lake
from retention.lake.importing.import_files import import_files

CUTOFF = datetime(2025, 3, 10, 12, tzinfo=UTC)
HOURS = st.integers(-1500, 200)
EVENTS = st.lists(st.tuples(HOURS, st.one_of(st.none(), HOURS)), min_size=1, max_size=12)


def _frame(events) -> pd.DataFrame:
    rows = [
        {
            "event_id": f"e{place}",
            "customer_id": "a",
            "event_type": "purchase",
            "amount": 1.0,
            "order_id": f"o{place}",
            "occurred_at": CUTOFF + timedelta(hours=occurred),
            "available_at": pd.NaT if available is None else CUTOFF + timedelta(hours=available),
        }
        for place, (occurred, available) in enumerate(events)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(available_at=pd.to_datetime(frame["available_at"], utc=True))


def _imported(settings, frame: pd.DataFrame, name: str = "events") -> Lake:
    settings.home.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(settings.home / f"{name}.parquet")
    lake = Lake.open(settings)
    import_files(lake, None, settings, "events", [str(settings.home / f"{name}.parquet")])
    return lake


@hypothesis_settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=EVENTS, order=st.randoms(use_true_random=False))
def test_only_known_past_events_count_in_any_import_order(tmp_path_factory, events, order):
    from retention.settings import Settings

    settings = Settings(home=tmp_path_factory.mktemp("late"), _env_file=None)
    frame = _frame(events)
    shuffled = frame.sample(frac=1, random_state=order.randint(0, 99))
    half = len(shuffled) // 2
    if half:
        _imported(settings, shuffled.head(half), "first")
    lake = _imported(settings, shuffled.tail(len(shuffled) - half), "second")
    seen = set(lake.table("events", before=CUTOFF).execute()["event_id"])
    expected = {
        f"e{place}"
        for place, (occurred, available) in enumerate(events)
        if occurred < 0 and (available is None or available < 0)
    }
    assert seen == expected


def test_late_old_events_are_imported_once(settings):
    row = {"customer_id": "a", "event_type": "purchase", "order_id": "o", "amount": 1.0}
    new = pd.DataFrame([row | {"occurred_at": CUTOFF}])
    old = pd.DataFrame(
        [row | {"occurred_at": CUTOFF - timedelta(days=400)}, row | {"occurred_at": CUTOFF}]
    )
    lake = _imported(settings, new, "new")
    _imported(settings, old, "old")
    assert lake.table("events").count().execute() == 2
    again = old.assign(available_at=CUTOFF)  # when it became known is not what happened
    _imported(settings, again, "again")
    assert lake.table("events").count().execute() == 2


def test_event_channel_is_stored(settings):
    frame = _frame([(-3, None), (-2, None)]).assign(channel=["store", "App "])
    expected = ["App", "store"]
    assert sorted(_imported(settings, frame).table("events").execute()["channel"]) == expected
