"""Tests of the feature catalogue, clock changes and feature selection."""

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from retention.churn.explaining import facts
from retention.churn.model_features import DERIVED
from retention.errors import BadInput
from retention.features import GROUPS, NAMES, build
from retention.features.visits import clock_changes
from retention.lake import Lake
from retention.settings import Settings
from retention.window import Window
from tests.retention.features import every


def test_each_group_has_a_reason_text():
    assert {*GROUPS, *(feature.group for feature in DERIVED)} <= facts.GROUPS


@pytest.mark.parametrize(
    "zone", ["Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
)
def test_clock_changes_match_the_time_zone(zone):
    changes = clock_changes(zone, 2026)
    for moment in (
        datetime(1999, 7, 1, 12),
        datetime(2017, 3, 26, 0, 59, 59),
        datetime(2017, 3, 26, 1),
        datetime(2026, 11, 24),
    ):
        second = moment.replace(tzinfo=UTC).timestamp()
        offset = [shift for since, shift in changes if since <= second][-1]
        local = datetime.fromtimestamp(second, ZoneInfo(zone))
        assert offset == local.utcoffset().total_seconds()


@pytest.mark.skipif(find_spec("pyspark") is not None, reason="here pyspark is installed")
def test_missing_pyspark_names_the_setup_command(tmp_path):
    lake = Lake.open(Settings(home=tmp_path, lake_url=f"spark://{tmp_path}/lake", _env_file=None))
    with pytest.raises(BadInput, match="make setup-spark"):
        build(lake, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("url", ["bigquery://project/lake", "spark://host:7077", "/just/a/path"])
def test_rejects_unsupported_lake_urls(tmp_path, url):
    with pytest.raises(BadInput, match=f"{url}.*duckdb:///path"):
        Lake.open(Settings(home=tmp_path, lake_url=url, _env_file=None))


def test_orders_at_quarter_edges_count_once(tmp_path):
    """Sums of fractions of days would put some of these orders into the wrong quarter."""
    horizon, quarter = 28, 28 * 86_400 // 4
    rng = np.random.default_rng(5)
    edge = rng.integers(1, 24, 500) * quarter
    ago = {
        f"c{number}": {int(age), int(age) - int(rng.integers(1, quarter))}
        for number, age in enumerate(edge)
    }
    rows = [(customer, age) for customer, ages in ago.items() for age in ages]
    added = every.event(
        customer_id=[customer for customer, _ in rows],
        order_id=[f"o{number}" for number in range(len(rows))],
        occurred_at=[every.CUTOFF - timedelta(seconds=age) for _, age in rows],
    )
    lake = every.lake(tmp_path, added)
    names = {"quarters_1h": 4, "quarters_2h": 8, "quarters_3h": 12, "quarters_6h": 24}
    features = build(lake, every.CUTOFF, window=Window(horizon, None), names=names).execute()
    for name, most in names.items():
        truth = {
            customer: len({age // quarter for age in ages if age < most * quarter})
            for customer, ages in ago.items()
        }
        assert dict(zip(features.customer_id, features[name], strict=True)) == truth


@pytest.mark.nightly
def test_selected_features_equal_the_full_set(tmp_path):
    """The query leaves out everything that the selected features do not need."""
    lake = every.lake(tmp_path, every.frames())
    whole = build(lake, every.CUTOFF, window=every.WINDOW).order_by("customer_id").execute()
    for some in (NAMES[start::6] for start in range(6)):
        few = build(lake, every.CUTOFF, window=every.WINDOW, names=some)
        few = few.order_by("customer_id").execute()
        pd.testing.assert_frame_equal(few, whole[["customer_id", *some]])
