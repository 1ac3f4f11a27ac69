"""Test the lake: nothing sees the future, and runs are replaced whole.

Writers do not lose each other's rows.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from retention import clock
from retention.errors import BadInput, TooLittleData
from retention.lake import Lake, coverage
from retention.lake import lake as lake_module
from retention.lake.importing.import_files import import_files
from retention.lake.lake import naive, usual_memory
from retention.lake.quality import quality
from retention.lake.schema import EVENTS, SQL_TYPES, TABLES
from retention.lake.storage import delta_store
from tests import shop as tiny

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def _import(lake, settings, frame, table="events"):
    file = settings.home / f"{len(list(settings.home.glob('*.parquet')))}.parquet"
    settings.home.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(file)
    return import_files(lake, None, settings, table, [str(file)])


def _views(*moments, customer="1", **columns):
    return pd.DataFrame(
        {"customer_id": customer, "event_type": "view", "occurred_at": list(moments)} | columns
    )


def test_table_excludes_events_known_after_the_cutoff(lake, settings):
    moments = [NOON - timedelta(seconds=seconds) for seconds in range(4)]
    known = [pd.NaT, pd.NaT, moments[2], NOON]
    _import(lake, settings, _views(*moments, available_at=known))
    seen = lake.table("events", before=NOON).occurred_at.execute().tolist()
    assert sorted(seen) == [naive(moments[2]), naive(moments[1])]
    assert lake.table("events").count().execute() == 4


def test_future_events_do_not_change_the_past(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=30, items=12, days=60)
    cutoff = shop.begin + timedelta(days=40)
    query = shop.lake.table("events", cutoff).order_by("event_id")
    before, mark = query.execute(), shop.lake.fingerprint(cutoff)
    tiny.add(shop, _views(*(cutoff + timedelta(hours=hour) for hour in range(50))))
    query = shop.lake.table("events", cutoff).order_by("event_id")
    pd.testing.assert_frame_equal(before, query.execute())
    assert mark.split(" ", 1)[1] == shop.lake.fingerprint(cutoff).split(" ", 1)[1]


def test_empty_lake_has_the_same_columns_and_types(settings, shop):
    for name in ("events", "customers", "items", "treatments"):
        assert Lake.open(settings).table(name).schema() == shop.lake.table(name).schema()
    assert Lake.open(settings).scores("none").count().execute() == 0


def test_sees_commits_of_other_processes_even_after_a_checkpoint(settings):
    lake, other = Lake.open(settings), Lake.open(settings)
    assert lake.table("customers").count().execute() == 0
    for number in range(1, 4):
        other.upsert("customers", pd.DataFrame({"customer_id": [f"c{number}"]}))
        assert lake.table("customers").count().execute() == number
        delta_store.open_table(lake.root, TABLES["customers"]).create_checkpoint()


def test_table_is_opened_once_per_version(lake):
    cache = delta_store.TableCache(lake.root)
    assert cache.get(TABLES["customers"]) is None
    lake.upsert("customers", pd.DataFrame({"customer_id": ["a"]}))
    first = cache.get(TABLES["customers"])
    assert cache.get(TABLES["customers"]) is first
    lake.upsert("customers", pd.DataFrame({"customer_id": ["b"]}))
    assert cache.get(TABLES["customers"]) is not first


def test_order_ids_are_dictionary_encoded(settings):
    """Nine lines an order, as a grocer has.

    Grouping lines to orders then reads each id once a row group.
    """
    lake, lines = Lake.open(settings), pd.DataFrame({"number": np.arange(80_000)})
    lines["item_id"] = "i" + lines.number.astype(str)
    lines["order_id"] = "o" + (lines.pop("number") // 9).astype(str)
    row = {"customer_id": "a", "event_type": "purchase", "occurred_at": NOON, "amount": 1.0}
    _import(lake, settings, lines.assign(**row))
    (file,) = delta_store.files(delta_store.open_table(lake.root, TABLES["events"]))
    metadata = pq.read_metadata(file)
    place = metadata.schema.names.index("order_id")
    columns = [metadata.row_group(group).column(place) for group in range(metadata.num_row_groups)]
    assert len(columns) > 1
    assert all(column.has_dictionary_page for column in columns)


def test_writing_scores_replaces_only_the_same_run(lake):
    for run, customers in (("j1-1", ["a", "b"]), ("j2-1", ["c"]), ("j1-1", ["d"])):
        lake.write_scores(run, lambda people=customers: [_scores(people)])
    assert lake.scores("j1-1").customer_id.execute().tolist() == ["d"]
    assert lake.scores("j2-1").reasons.execute().tolist() == ['[{"feature": "recency"}]']
    assert lake.collect_garbage(lambda runs: runs - {"j2-1"}) == ["j1-1"]
    assert lake.scores("j1-1").count().execute() == 0
    assert lake.scores("j2-1").count().execute() == 1


def _scores(customers):
    rows = pd.DataFrame({"customer_id": customers, "as_of": NOON, "model_version": "rules"})
    reasons = [[{"feature": "recency"}] for _ in customers]
    return rows.assign(churn_probability=0.5, reasons=reasons)


def test_treatments_are_upserted_by_campaign_and_customer(lake):
    rows = pd.DataFrame({"customer_id": ["1", "2"], "arm": ["treatment", "control"]})
    rows = rows.assign(campaign_id="k", sent_at=NOON)
    lake.upsert("treatments", rows)
    lake.upsert("treatments", rows.assign(amount=[1.5, 2.5]))
    assert lake.table("treatments").amount.execute().tolist() == [1.5, 2.5]
    with pytest.raises(ValueError, match="no column"):
        lake.upsert("treatments", rows.assign(colour="red"))


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("table", ["events", "customers"])
def test_concurrent_writers_lose_and_duplicate_nothing(settings, tmp_path, table):
    files = []
    named = "event_type,occurred_at" if table == "events" else "name,created_at"
    for number in range(3):
        file, first = tmp_path / f"{number}.csv", number * 50
        rows = [f"{customer},view,2025-01-0{number + 1}" for customer in range(first, first + 100)]
        file.write_text(f"customer_id,{named}\n" + "\n".join(rows))
        files.append(str(file))

    def write(file):
        # A lake of its own, as in a process of its own: the lock is on an open file, not on a
        # process.
        import_files(Lake.open(settings), None, settings, table, [file])

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, [*files, files[0]]))
    rows = Lake.open(settings).table(table)
    assert rows.count().execute() == {"events": 300, "customers": 200}[table]


def test_time_outside_the_data_is_reported_in_shop_time(settings):
    lake = Lake.open(settings.model_copy(update={"timezone": "Europe/Berlin"}))
    midnight = datetime(2025, 2, 28, 23, tzinfo=UTC)  # there, of 1 March
    _import(lake, settings, _views(midnight))
    message = r"no events before 2025-03-01, for it goes from 2025-03-01 to 2025-03-01"
    with pytest.raises(TooLittleData, match=message):
        lake.as_of(midnight, 28)
    with pytest.raises(TooLittleData, match=message):
        coverage.check_trainable(lake, midnight, 28)
    expected = lake.as_of(midnight + timedelta(days=92), 28).note
    assert "ends on 2025-03-01, 92 days before 2025-06-01" in expected


def test_as_of_is_midnight_or_the_day_after_stale_data(lake, settings):
    clock.configure(fixed=NOON)
    with pytest.raises(TooLittleData, match="import"):
        lake.as_of(None, 28)
    _import(lake, settings, _views(NOON - timedelta(days=10), NOON + timedelta(days=1)))
    fresh = lake.as_of(None, 28)
    assert (fresh.at, fresh.note) == (datetime(2025, 3, 1, tzinfo=UTC), "")
    assert lake.as_of(NOON - timedelta(days=3), 28).at == NOON - timedelta(days=3)
    clock.configure(fixed=NOON + timedelta(days=60))
    stale = lake.as_of(None, 28)
    assert stale.at == NOON + timedelta(days=2)
    assert "02 Mar 2025" in stale.note


def test_opened_email_does_not_make_stale_data_fresh(lake, settings):
    clock.configure(fixed=NOON + timedelta(days=60))
    opens = [NOON - timedelta(days=400), clock.now() - timedelta(days=1)]
    _import(lake, settings, _views(*opens).assign(event_type=["email_open", "email_click"]))
    with pytest.raises(TooLittleData, match="no events yet"):
        lake.as_of(None, 28)
    _import(lake, settings, _views(NOON))
    stale, after = lake.as_of(None, 28), NOON + timedelta(days=1)
    assert (stale.at, bool(stale.note)) == (after, True)
    assert coverage.training_cutoff(lake, clock.now()) == after
    assert quality(lake, settings)["newest_event"] == NOON.isoformat()
    known = coverage.time_range(lake)
    assert (known.oldest, known.newest, known.ends_before(opens[1])) == (NOON, NOON, False)


@pytest.mark.parametrize(("days", "at", "noted"), [(40, 1, True), (20, 20, True), (2, 2, False)])
def test_long_horizon_does_not_make_old_data_fresh(lake, settings, days, at, noted):
    """With a horizon of 365 days, an export of 11 months ago was scored as of today."""
    _import(lake, settings, _views(NOON - timedelta(days=1), NOON))
    clock.configure(fixed=NOON + timedelta(days=days))
    chosen = lake.as_of(None, 120)
    assert chosen.at.date() == (NOON + timedelta(days=at)).date()
    assert bool(chosen.note) is noted


def test_default_as_of_changes_only_with_the_data_or_the_day(settings):
    """Messages a few minutes apart showed other figures: $1,838 and then $1,840."""
    lake = Lake.open(settings.model_copy(update={"timezone": "America/New_York"}))
    _import(lake, settings, _views(NOON - timedelta(days=1), NOON + timedelta(hours=2)))

    def as_of(hours: float) -> datetime:
        clock.configure(fixed=NOON + timedelta(hours=hours))
        return lake.as_of(None, 28).at

    midnight = datetime(2025, 3, 1, 5, tzinfo=UTC)  # in New York
    assert as_of(0) == as_of(1.9) == midnight
    known = as_of(2.5)
    assert known == as_of(5) == NOON + timedelta(hours=2, seconds=1)
    assert lake.table("events", known).count().execute() == 2
    assert as_of(24) == midnight + timedelta(days=1)


def test_default_as_of_covers_data_that_became_known_late(lake, settings):
    known = [NOON - timedelta(hours=1)]
    _import(lake, settings, _views(NOON - timedelta(days=2), available_at=known))
    clock.configure(fixed=NOON)
    at = lake.as_of(None, 28).at
    assert at == NOON - timedelta(hours=1) + timedelta(seconds=1)
    assert lake.table("events", at).count().execute() == 1


def test_requested_time_gets_a_note_if_data_ends_before(lake, settings):
    with pytest.raises(TooLittleData, match="no events yet"):
        lake.as_of(NOON, 28)
    _import(lake, settings, _views(NOON, NOON + timedelta(days=10)))
    assert lake.as_of(NOON + timedelta(days=11), 28).note == ""
    # The data goes on: it was a quiet time.
    assert lake.as_of(NOON + timedelta(days=3), 28).note == ""
    late = lake.as_of(NOON + timedelta(days=40), 28)
    assert late.at == NOON + timedelta(days=40)
    assert "The data ends on 2025-03-11, 30 days before 2025-04-10" in late.note
    with pytest.raises(TooLittleData, match=r"no events before 2025-02-28.*a later --as-of"):
        lake.as_of(NOON - timedelta(days=1), 28)


def test_note_warns_of_a_model_trained_on_later_data(lake, settings):
    _import(lake, settings, _views(NOON, NOON + timedelta(days=10)))
    at = NOON + timedelta(days=3)
    assert lake.as_of(at, 28, at).note == ""
    note = lake.as_of(at, 28, at + timedelta(days=1)).note
    assert "learned from what came until 2025-03-05" in note


@pytest.mark.parametrize(
    ("zone", "now", "cutoff"),
    [
        ("UTC", "2025-06-01T00:00", "2025-04-02T00:00"),  # the data ended long ago
        ("UTC", "2025-04-29T13:00", "2025-04-01T00:00"),  # the newest day is not over
        ("Europe/Berlin", "2025-06-01T00:00", "2025-04-01T22:00"),
        ("UTC", "2025-04-20T13:00", "2025-02-02T00:00"),  # later events are not known yet
    ],
)
def test_latest_cutoff_has_a_complete_label_window(settings, monkeypatch, zone, now, cutoff):
    lake = Lake.open(settings.model_copy(update={"timezone": zone}))
    first = datetime(2025, 1, 1, 12, tzinfo=UTC)
    _import(lake, settings, _views(first, first + timedelta(days=59), first + timedelta(days=118)))
    monkeypatch.setattr(clock, "now", lambda: datetime.fromisoformat(now).replace(tzinfo=UTC))
    latest = coverage.latest_cutoff(lake, 28)
    assert latest == datetime.fromisoformat(cutoff).replace(tzinfo=UTC)


def test_label_window_needs_a_history_longer_than_itself(lake, settings):
    with pytest.raises(TooLittleData, match="no events yet"):
        coverage.latest_cutoff(lake, 28)
    _import(lake, settings, _views(NOON))
    says = "goes from 2025-03-01 to 2025-03-01; import a longer history"
    with pytest.raises(BadInput, match=says):
        coverage.check_label_window(lake, NOON + timedelta(days=1), 28)
    _import(lake, settings, _views(NOON + timedelta(days=10)))
    with pytest.raises(BadInput, match=r"goes from 2025-03-01 to 2025-03-11.*at most 3 days"):
        coverage.latest_cutoff(lake, 28)


def test_refuses_to_mix_currencies(lake, settings):
    assert lake.currency(settings) == ""
    both = pd.concat([_views(NOON, currency="EUR"), _views(NOON, customer="2", currency="USD")])
    with pytest.raises(BadInput, match="in EUR, USD"):
        _import(lake, settings, both)
    assert lake.table("events").count().execute() == 0
    _import(lake, settings, _views(NOON, currency="EUR"))
    assert lake.currency(settings) == "EUR"
    _import(lake, settings, _views(NOON, customer="2", currency=" eur"))  # written otherwise
    dollars = _views(NOON, customer="3", item_id="POST", currency="USD")
    with pytest.raises(BadInput, match=r"in USD, the shop's are in EUR.*nothing was imported"):
        _import(lake, settings, dollars)
    # The stored currency counts, even if another is set.
    other = settings.model_copy(update={"currency": "USD"})
    with pytest.raises(BadInput, match="in USD, the shop's are in EUR, USD"):
        _import(lake, other, dollars)
    assert lake.table("items").count().execute() == 0  # a refused file leaves none of its parts
    _import(lake, settings, _views(NOON, customer="3", currency="EUR"))
    assert lake.table("events").count().execute() == 3


def test_currency_setting_is_the_shops_currency(lake, settings):
    swiss = settings.model_copy(update={"currency": "CHF"})
    assert lake.currency(swiss) == "CHF"
    with pytest.raises(BadInput, match="in EUR, the shop's are in CHF"):
        _import(lake, swiss, _views(NOON, currency="EUR"))


def test_opening_a_lake_imports_no_heavy_modules():
    heavy = "pandas duckdb ibis pyarrow deltalake sklearn"
    code = (
        "import sys; from retention.lake import Lake; from retention.settings import Settings; "
        "from retention.lake import customer_directory; import retention.privacy; "
        "Lake.open(Settings(_env_file=None)); "
        f"sys.exit(', '.join(set('{heavy}'.split()) & set(sys.modules)) or None)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_failed_write_removes_its_files(lake, tmp_path):
    """On a full disk they would be in the way of the next attempt."""
    columns = (f"NULL::{SQL_TYPES[column.kind]} AS {column.name}" for column in EVENTS.columns)
    lake.duckdb.execute(f"CREATE TABLE fresh AS SELECT {', '.join(columns)}")
    parts = {"2025-01": "true", "2025-02": "error('no room')"}
    with pytest.raises(duckdb.Error, match="no room"):
        delta_store.write_parts(tmp_path, EVENTS, lake.duckdb, "fresh", parts, 0)
    assert not list(tmp_path.rglob("*.parquet"))


def test_memory_is_that_of_the_container_or_the_setting(settings, tmp_path, monkeypatch):
    file = tmp_path / "memory.max"
    monkeypatch.setattr(lake_module, "CONTAINER_MEMORY", file)
    machine = usual_memory()
    for content, most in (("max\n", machine), (f"{2**30}\n", 2**29)):
        file.write_text(content)
        assert usual_memory() == most
    own = Lake.open(settings.model_copy(update={"memory_gb": 1.5}))
    (limit,) = own.duckdb.execute("SELECT current_setting('memory_limit')").fetchone()
    assert limit == "1.5 GiB"
