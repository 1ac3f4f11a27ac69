"""The catalogue and its words; the shop's clock."""

from datetime import UTC, datetime
from importlib.util import find_spec
from zoneinfo import ZoneInfo

import pytest

from retention.churn.reasons import _TEXTS
from retention.churn.snapshots import DERIVED
from retention.errors import BadInput
from retention.features import FEATURES, GROUPS, NAMES, build
from retention.features.visits import clock_changes
from retention.lake import Lake
from retention.settings import Settings


def test_each_group_has_a_text():
    assert {*GROUPS, *(feature.group for feature in DERIVED)} <= set(_TEXTS)


def test_each_feature_is_named_once_and_said():
    assert len(set(NAMES)) == len(NAMES)
    assert all(feature.meaning and feature.group and feature.source for feature in FEATURES)


@pytest.mark.parametrize("zone", ["Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_the_clock_on_the_wall_is_the_zones(zone):
    changes = clock_changes(zone, 2026)
    for moment in (
        datetime(1999, 7, 1, 12),
        datetime(2017, 3, 26, 0, 59, 59),
        datetime(2017, 3, 26, 1),
        datetime(2026, 11, 24),
    ):
        second = moment.replace(tzinfo=UTC).timestamp()
        offset = [shift for since, shift in changes if since <= second][-1]
        assert (
            offset == ZoneInfo(zone).utcoffset(datetime.fromtimestamp(second, ZoneInfo(zone))).total_seconds()
        )


@pytest.mark.skipif(find_spec("pyspark") is not None, reason="here pyspark is installed")
def test_without_pyspark_one_sentence_says_what_to_do(tmp_path):
    lake = Lake.open(Settings(home=tmp_path, lake_url=f"spark://{tmp_path}/lake", _env_file=None))
    with pytest.raises(BadInput, match="make setup-spark"):
        build(lake, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("url", ["bigquery://project/lake", "spark://host:7077", "/just/a/path"])
def test_other_engines_are_refused_in_a_sentence(tmp_path, url):
    with pytest.raises(BadInput, match="duckdb:///path"):
        Lake.open(Settings(home=tmp_path, lake_url=url, _env_file=None))
