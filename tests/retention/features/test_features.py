"""The catalogue and its words; the shop's clock."""

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from retention.churn import reasons
from retention.churn.model_features import DERIVED
from retention.errors import BadInput
from retention.features import FEATURES, GROUPS, NAMES, build
from retention.features.visits import clock_changes
from retention.lake import Lake
from retention.settings import Settings
from tests.retention.features import every


def test_each_group_has_a_text():
    assert {*GROUPS, *(feature.group for feature in DERIVED)} <= reasons.GROUPS


def test_each_feature_is_named_once_and_said():
    assert len(set(NAMES)) == len(NAMES)
    assert all(feature.meaning and feature.group and feature.source for feature in FEATURES)


@pytest.mark.parametrize(
    "zone", ["Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
)
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
            offset
            == ZoneInfo(zone)
            .utcoffset(datetime.fromtimestamp(second, ZoneInfo(zone)))
            .total_seconds()
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


def test_an_order_at_the_edge_of_a_quarter_is_in_one_quarter(tmp_path):
    """Counted in whole seconds: a sum of fractions of days would put some of these orders into the quarter beside."""
    horizon, quarter = 28, 28 * 86_400 // 4
    rng = np.random.default_rng(5)
    edge = rng.integers(1, 24, 500) * quarter
    ago = {
        f"c{number}": {int(one), int(one) - int(rng.integers(1, quarter))}
        for number, one in enumerate(edge)
    }
    rows = [(customer, one) for customer, all_ in ago.items() for one in all_]
    added = every.event(
        customer_id=[customer for customer, _ in rows],
        order_id=[f"o{number}" for number in range(len(rows))],
        occurred_at=[every.CUTOFF - timedelta(seconds=one) for _, one in rows],
    )
    lake = every.lake(tmp_path, added)
    names = {"quarters_1h": 4, "quarters_2h": 8, "quarters_3h": 12, "quarters_6h": 24}
    found = build(
        lake, every.CUTOFF, horizon_days=horizon, active_within_days=None, names=names
    ).execute()
    for name, most in names.items():
        truth = {
            customer: len({one // quarter for one in all_ if one < most * quarter})
            for customer, all_ in ago.items()
        }
        assert dict(zip(found.customer_id, found[name], strict=True)) == truth


def test_a_few_features_are_what_they_are_among_all(tmp_path):
    """What the asked ones do not need is left out of the query: no feature may miss it."""
    lake = every.lake(tmp_path, every.frames())
    whole = build(lake, every.CUTOFF, **every.ARGS).order_by("customer_id").execute()
    for some in (NAMES[start::6] for start in range(6)):
        few = build(lake, every.CUTOFF, **every.ARGS, names=some).order_by("customer_id").execute()
        pd.testing.assert_frame_equal(few, whole[["customer_id", *some]])
