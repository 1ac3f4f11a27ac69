"""A shop with a Christmas season: what last year's season says of this one's."""

from datetime import timedelta

import pandas as pd
import pytest

from retention.churn import evaluate
from retention.churn.snapshots import _ahead
from tests import shop as tiny
from tests import shops


@pytest.fixture(scope="module")
def gifts(tmp_path_factory):
    from retention.lake.importing import import_files

    home = tmp_path_factory.mktemp("gifts")
    made = tiny.build(home / "home", customers=1, days=1)
    made.lake.root.rename(home / "unused")
    lake = type(made.lake)(made.lake.root, home / "scratch")
    shops.gifts(customers=1500).to_parquet(home / "events.parquet")
    import_files(lake, made.database, made.settings, "events", [str(home / "events.parquet")])
    return lake


def test_before_christmas_every_baseline_is_beaten(gifts):
    cutoff = shops.end(730) - timedelta(days=90)
    found = evaluate(gifts, cutoff=cutoff, horizon_days=90, active_within_days=180, model="logistic")
    best = min(one["log_loss"] for one in found["baselines"].values())
    assert found["metrics"]["log_loss"] < best - 0.03
    assert found["metrics"]["ece"] < found["baselines"]["bg_nbd"]["ece"] / 1.5
    assert "season_ahead" in found["features"]


def test_the_season_ahead_is_that_of_a_year_ago():
    days = pd.date_range("2024-01-01", "2025-12-31", tz="UTC")
    trade = pd.Series(10.0, index=days)
    trade["2024-11-01":"2024-11-28"] = 30.0
    cutoff = pd.Timestamp("2025-10-31", tz="UTC")
    assert _ahead(trade[:cutoff], cutoff, 28, year=1) == pytest.approx(1.1, abs=0.05)
    assert _ahead(trade, cutoff, 28, year=0) == pytest.approx(0, abs=0.05)
    assert _ahead(trade["2025-06-01":], cutoff, 28, year=1) == 0
