"""Tests that DuckDB and Spark compute the same features."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="make test-spark")

from retention.churn.snapshots import take_snapshot
from retention.db import Database
from retention.db.migrate import upgrade
from retention.features import NAMES, build
from retention.lake import Lake
from retention.settings import Settings
from retention.window import Window
from tests.retention.features import every

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]


def on_spark(lake: Lake, home: Path) -> Lake:
    """Open the same tables with a Spark URL."""
    lake_url = f"spark://{lake.root}"
    return Lake.open(Settings(home=home, lake_url=lake_url, timezone=lake.zone, _env_file=None))


def assert_same_features(lake: Lake, other: Lake, cutoff: datetime, **shape: object) -> None:
    ours, theirs = (
        build(each, cutoff, **shape).order_by("customer_id").execute() for each in (lake, other)
    )
    assert len(ours)
    assert list(ours.columns) == list(theirs.columns)
    assert ours.customer_id.tolist() == theirs.customer_id.tolist()
    values = [frame[list(NAMES)].to_numpy(dtype=float, na_value=np.nan) for frame in (ours, theirs)]
    np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_spark_matches_duckdb_on_all_event_types(tmp_path):
    lake = every.lake(tmp_path, every.frames())
    assert_same_features(lake, on_spark(lake, tmp_path), every.CUTOFF, window=every.WINDOW)


def test_spark_matches_duckdb_on_complete_journey(tmp_path):
    from retention.demo import extracts
    from retention.lake.importing.import_files import import_files

    settings = Settings(home=tmp_path, timezone="America/New_York", _env_file=None)
    upgrade(settings)
    database, lake = Database.of(settings), Lake.open(settings)
    con, until = lake.duckdb, datetime(2018, 1, 2, tzinfo=UTC)
    items = extracts.products(con, tmp_path / "items.parquet", datetime(2017, 10, 2, tzinfo=UTC))
    events = extracts.events(con, tmp_path / "events.parquet", None, until)
    for table, file, map_path, only in (
        ("items", items, extracts.MAPS / "items.toml", None),
        ("events", events, None, "customer_id % 10 = 3"),
    ):
        import_files(lake, database, settings, table, [str(file)], map_path, only=only)
    database.dispose()
    cutoff = datetime(2017, 10, 23, tzinfo=UTC)
    other = on_spark(lake, tmp_path)
    assert_same_features(lake, other, cutoff, window=Window(28, 56))
    snapshots = [take_snapshot(each, cutoff, window=Window(28, 56)) for each in (lake, other)]
    assert snapshots[0].churned.tolist() == snapshots[1].churned.tolist()
    states = [each.frame[["states_no_purchase", "states_later"]] for each in snapshots]
    np.testing.assert_allclose(*states, rtol=1e-6)


def test_empty_lake_gives_no_rows_on_spark(tmp_path):
    lake = every.lake(tmp_path, {})
    assert not len(build(on_spark(lake, tmp_path), every.CUTOFF, window=every.WINDOW).execute())
