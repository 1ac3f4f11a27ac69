"""Test the lake on an object store: what hosts share, lock, fence, cache and erasure."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("moto", reason="make test-s3")

from retention import erasure
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import ModelVersion
from retention.errors import BadInput, Conflict
from retention.lake import Lake
from retention.lake.importing import live_import, quarantine
from retention.lake.importing.import_files import import_files
from retention.lake.importing.release import release
from retention.lake.schema import EVENTS
from retention.lake.storage import delta_store
from retention.registry import store
from retention.settings import Settings
from tests import s3
from tests.postgres import make_empty, postgres

pytestmark = pytest.mark.s3

BUCKET = "desk"
EVENT_ROWS = pd.DataFrame(
    {
        "customer_id": ["anna", "berta", "anna", "carl"],
        "event_type": "purchase",
        "occurred_at": ["2025-01-03", "2025-01-20", "2025-02-11", "2025-03-05"],
        "order_id": ["1", "2", "3", "4"],
        "item_id": ["tea", "tea", "cup", "cup"],
        "quantity": 1,
        "amount": [5.0, 5.0, 9.0, 9.0],
    }
)


@pytest.fixture(scope="module")
def address():
    with s3.server() as running:
        s3.make_bucket(running, BUCKET)
        yield running


@pytest.fixture(scope="module")
def database_url():
    with postgres() as url:
        yield url


@pytest.fixture
def host(address, database_url, tmp_path, monkeypatch):
    """Return a function that opens a host: a home of its own, and a shared store and database."""
    for name, value in s3.environment(address).items():
        monkeypatch.setenv(name, value)
    make_empty(database_url)

    def open_host(name: str, **changed: object) -> Settings:
        fields = {
            "lake_url": f"duckdb+s3://{BUCKET}/{tmp_path.name}",
            "database_url": database_url,
            "secret_key": "k" * 64,
            "timezone": "UTC",
        }
        return Settings(home=tmp_path / name, _env_file=None, **(fields | changed))

    upgrade(open_host("first"))
    return open_host


def add(
    settings: Settings, rows: pd.DataFrame, table: str = "events", map_path: Path | None = None
) -> dict[str, object]:
    """Import rows as a file."""
    settings.home.mkdir(exist_ok=True)
    file, database = settings.home / "rows.csv", Database.of(settings)
    rows.to_csv(file, index=False)
    try:
        lake, files = Lake.open(settings), [str(file)]
        return import_files(lake, database, settings, table, files, map_path).as_dict()
    finally:
        database.dispose()
        file.unlink()


def rows_of(settings: Settings, name: str = "events", **limits: datetime) -> list[tuple]:
    frame = Lake.open(settings).table(name, **limits).execute()
    return sorted(map(str, frame.itertuples(index=False)))


def written_again(lake: Lake) -> list[tuple[str, Path]]:
    """Write the stored events once more, to files that are not committed."""
    files = delta_store.files(delta_store.open_table(lake.root, EVENTS))
    rows = delta_store.rows_sql(EVENTS, files)
    lake.duckdb.execute(f"CREATE TABLE again AS SELECT * FROM {rows}")
    return delta_store.write_parts(lake.root, EVENTS, lake.duckdb, "again", {"2025-01": "true"}, 0)


def copies(settings: Settings) -> list[Path]:
    """The data files of a host's cache."""
    return [path for path in (settings.home / "lake-cache").rglob("*") if path.is_file()]


def objects(settings: Settings) -> dict[str, bytes]:
    """All objects of the store by name."""
    root = Lake.open(settings).root
    found = {}
    for name, _ in root._list(""):
        with root._objects.open_input_stream(name) as stream:
            found[name] = stream.read()
    return found


def test_other_hosts_read_the_rows_that_a_folder_would_have(host, tmp_path):
    first, second = host("first"), host("second")
    local = Settings(home=tmp_path / "local", timezone="UTC", _env_file=None)
    upgrade(local)
    add(first, EVENT_ROWS), add(local, EVENT_ROWS)
    assert rows_of(second) == rows_of(local)
    assert len(rows_of(second)) == 4
    cutoff = {"before": datetime(2025, 2, 1, tzinfo=UTC)}
    assert rows_of(second, **cutoff) == rows_of(local, **cutoff)
    assert len(rows_of(second, **cutoff)) == 2


def test_a_cutoff_hides_rows_that_another_host_adds_later(host):
    first, second = host("first"), host("second")
    cutoff = {"before": datetime(2025, 2, 1, tzinfo=UTC)}
    add(first, EVENT_ROWS)
    before = rows_of(second, **cutoff)
    add(first, EVENT_ROWS.assign(occurred_at="2025-05-01", order_id=["5", "6", "7", "8"]))
    assert rows_of(second, **cutoff) == before
    assert len(rows_of(second)) == 8


def test_rows_that_another_host_imported_are_duplicates(host):
    first, second = host("first"), host("second")
    add(first, EVENT_ROWS)
    report = add(second, EVENT_ROWS)
    assert (report["rows_accepted"], report["rows_duplicate"]) == (0, 4)


def test_keyed_rows_and_scores_are_stored_once(host):
    first, second = host("first"), host("second")
    items = pd.DataFrame({"item_id": ["tea", "cup"], "title": ["Tea", "Cup"]})
    add(first, items, "items")
    add(second, items.assign(title=["Tea", "Mug"]), "items")
    assert sorted(Lake.open(first).table("items").title.execute()) == ["Mug", "Tea"]
    scores = pd.DataFrame({"customer_id": ["anna"], "churn_probability": [0.5], "tier": ["high"]})
    Lake.open(first).write_scores("run-1", lambda: [scores])
    Lake.open(second).write_scores("run-1", lambda: [scores.assign(churn_probability=0.7)])
    assert list(Lake.open(first).scores("run-1").churn_probability.execute()) == [0.7]
    Lake.open(second).remove("items", items[["item_id"]].head(1))
    assert list(Lake.open(first).table("items").item_id.execute()) == ["cup"]


def test_an_open_lake_sees_what_another_host_commits(host):
    first, second = host("first"), host("second")
    add(first, EVENT_ROWS)
    reader = Lake.open(second)
    assert reader.table("events").count().execute() == 4
    add(first, EVENT_ROWS.assign(order_id=["5", "6", "7", "8"], item_id="pot"))
    assert reader.table("events").count().execute() == 8


def test_a_writer_that_lost_its_lock_stores_nothing(host):
    first, second = host("first"), host("second")
    add(first, EVENT_ROWS)
    stale = Lake.open(second)
    with delta_store.locked(stale.root, EVENTS):
        written = written_again(stale)
        delta = delta_store.open_table(Lake.open(first).root, EVENTS)
        delta.delete("order_id = '4'")  # by a host that holds the lock now
        with pytest.raises(Conflict):
            delta_store.commit_parts(stale.root, EVENTS, written)
    assert len(rows_of(first)) == 3


def test_files_of_a_killed_import_disappear(host):
    first = host("first")
    add(first, EVENT_ROWS)
    lake = Lake.open(first)
    with delta_store.locked(lake.root, EVENTS):
        written_again(lake)
        staged = [path for path in copies(first) if ".staged" in path.parts]
    assert staged
    add(first, EVENT_ROWS)
    assert not any(path.exists() for path in staged)


def test_the_cache_keeps_to_its_limit_but_not_to_less_than_is_in_use(host):
    first = host("first")
    add(first, EVENT_ROWS)
    second = host("second", lake_cache_gb=1e-9)
    rows_of(second)
    assert len(copies(second)) == 3  # all in use
    old = min(copies(second))
    os.utime(old, (0, 0))
    add(first, pd.DataFrame({"item_id": ["tea"], "title": ["Tea"]}), "items")
    rows_of(second, "items")
    assert not old.exists()
    assert len(copies(second)) == 3
    assert len(rows_of(second)) == 4
    assert old.exists()


def test_views_keep_their_copies(host):
    first = host("first", lake_cache_gb=1e-9)
    add(first, EVENT_ROWS)
    reader = Lake.open(host("second"))
    assert reader.table("events").count().execute() == 4
    for path in copies(host("second")):
        path.unlink()
    reader.root._times.clear()
    assert reader.table("events").count().execute() == 4


def test_erasure_reaches_the_store_and_the_cache_of_each_host(host):
    first, second = host("first"), host("second")
    people = pd.DataFrame({"customer_id": ["anna", "berta"], "email": ["a@x.de", "b@x.de"]})
    add(first, people, "customers"), add(first, EVENT_ROWS)
    rows_of(second), rows_of(second, "customers")
    lake = Lake.open(first)
    assert erasure.erase_from_lake(lake, ["anna"])["events"] == 2
    erasure.erase_from_old_versions(lake, ["anna"], ["a@x.de"])
    assert len(rows_of(second)) == 2
    assert len(rows_of(second, "customers")) == 1
    for settings in (first, second):
        for path in copies(settings):
            assert b"anna" not in path.read_bytes(), path
    for name, content in objects(first).items():
        assert b"anna" not in content, name
        assert b"a@x.de" not in content, name


def test_compaction_leaves_the_rows_and_one_copy_each(host):
    first, second = host("first"), host("second")
    for number in range(6):
        add(first, EVENT_ROWS.assign(order_id=[f"{number}{row}" for row in range(4)]))
    before = rows_of(second)
    lake = Lake.open(second)
    lake.collect_garbage(lambda runs: ())
    assert len(delta_store.files(delta_store.open_table(lake.root, EVENTS))) == 3
    assert rows_of(first) == rows_of(second) == before
    live_import.compact_events(lake.root)
    assert rows_of(first) == before


def test_missing_bucket_gets_one_sentence(host):
    with pytest.raises(BadInput, match="no such bucket") as refusal:
        Lake.open(host("first", lake_url="duckdb+s3://nobody/lake")).table("events")
    assert "\n" not in str(refusal.value)


def test_missing_credentials_get_one_sentence(host, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="AWS_ACCESS_KEY_ID"):
        Lake.open(host("first")).table("events")


def test_a_model_that_one_host_saves_is_loaded_on_another(host):
    first, second = host("first"), host("second")
    cutoff = datetime(2025, 3, 1, tzinfo=UTC)
    row = store.save(first, ModelVersion(kind="churn", cutoff=cutoff), b"artefact")
    assert store.load(second, row) == b"artefact"
    lost = host("second", models_url=str(second.home / "models"))
    with pytest.raises(BadInput, match="missing"):
        store.load(lost, row)
    row.artefact = "churn/other.model"
    with pytest.raises(BadInput, match="missing"):
        store.load(second, row)


def test_quarantined_rows_are_shared_and_erased_from_any_host(host):
    first, second = host("first"), host("second")
    bad = EVENT_ROWS.assign(occurred_at=["2025-01-03", "never", "2025-02-11", "no day"])
    assert add(first, bad)["rows_quarantined"] == 2
    con = Lake.open(second).duckdb
    assert sum(quarantine.counts(con, second).values()) == 2
    assert erasure.erase_from_quarantine(Lake.open(second), second, ["carl"]) == 1
    assert sum(quarantine.counts(con, first).values()) == 1
    for settings in (first, second):
        assert all(b"carl" not in path.read_bytes() for path in quarantine.files(settings))
    assert erasure.erase_from_quarantine(Lake.open(first), first, ["berta"]) == 1
    assert quarantine.files(second) == quarantine.files(first) == []
    assert not any("quarantine" in name for name in objects(first))


def test_another_host_releases_rows_by_the_map_of_their_import(host):
    first, second = host("first"), host("second")
    own_map = first.home / "sources" / "orders.toml"
    own_map.parent.mkdir(parents=True)
    columns = "\n".join(f"{name} = '{name}'" for name in EVENT_ROWS if name != "occurred_at")
    own_map.write_text(f"[events]\n{columns}\noccurred_at = 'day'\n")
    rows = EVENT_ROWS.rename(columns={"occurred_at": "day"})
    add(first, rows.assign(day=["2025-01-03", "never", "2025-02-11", "no day"]), map_path=own_map)
    own_map.unlink()
    database = Database.of(second)
    report = release(Lake.open(second), database, second)
    database.dispose()
    assert (report.rows_tried, report.rows_kept, report.notes) == (2, 2, ())  # a note: no map
