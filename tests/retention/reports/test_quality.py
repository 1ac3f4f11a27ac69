"""Test the data quality report, in the terminal and as a page."""

from datetime import timedelta

import numpy as np
import pytest

from retention import clock, templating
from retention.lake import Lake
from retention.reports.data_limits import limits
from retention.reports.quality import report
from tests.retention.reports.samples import UNTIL, lake_with_gap_and_spike, register_champion


def _terminal(page) -> str:
    """Return the report as the terminal prints it."""
    return templating.text(
        "terminal/data_quality.txt.j2", result=page.data, **{"zone": "UTC", **page.data}
    )


@pytest.fixture
def quality_report(lake_of, database):
    """The report on a lake with a gap, a spike and a quarantined event."""
    clock.configure(fixed=UNTIL)
    return report(lake_with_gap_and_spike(lake_of), database)


def test_report_shows_gaps_spikes_and_quarantine(quality_report):
    volume = quality_report.data["volume"]
    assert volume["gaps"] == [{"since": "2025-04-14", "until": "2025-04-23", "days": 10}]
    assert [spike["usual"] for spike in volume["spikes"]] == [3]
    assert quality_report.data["quarantined"][0]["reason"] == "customer_id is missing"
    assert quality_report.data["imports"]["rows_read"] == sum(
        quality_report.data["imports"][f"rows_{fate}"]
        for fate in ("accepted", "duplicate", "filtered", "quarantined")
    )
    shown_text = _terminal(quality_report)
    assert "0 were excluded by the map, 1 were quarantined." in shown_text
    for words in ("2025-04-14", "customer_id is missing", "seasons are known after 13"):
        assert words in shown_text
    assert "no margin" in shown_text


def test_every_limit_has_a_remedy(quality_report):
    limits = {limit["limit"]: limit["remedy"] for limit in quality_report.data["limits"]}
    assert limits["4 months of history: seasons are known after 13"].startswith(
        "import older orders"
    )
    assert limits["3 customers: below 100 only rules can be used, no model"]
    assert all(len(remedy) > 5 for remedy in limits.values())


def test_quality_report_has_a_chart_and_a_page(quality_report, settings):
    assert quality_report.chart.png.startswith(b"\x89PNG")
    assert "1 gap" in quality_report.chart.alt_text
    page = quality_report.html(settings)
    assert "customer_id is missing" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere


def test_an_empty_lake_has_a_report_too(settings, database):
    found = report(Lake.open(settings), database)
    assert found.data["limits"][0]["limit"] == "no events: nothing can be predicted"
    assert "no events" in _terminal(found)
    assert found.html(settings)


@pytest.fixture
def champion(shop_copy):
    """Profiles of the champion of a copy of the shop."""
    return register_champion(shop_copy)


@pytest.mark.nightly
def test_drift_compares_with_the_training_window(shop_copy, champion):
    clock.configure(fixed=shop_copy.end)
    drift = report(shop_copy.lake, shop_copy.database).data["drift"]
    assert set(drift["features"]) == set(champion)
    assert drift["features"]["orders_all"] > drift["limit"]  # orders ever can only grow
    assert drift["moved"] == ["spend_1h"]
    assert drift["largest"] == drift["features"]["spend_1h"]
    assert np.isfinite(drift["event_mix"])
    clock.configure(fixed=shop_copy.end - timedelta(days=60))
    assert report(shop_copy.lake, shop_copy.database).data["drift"]["features"]["orders_all"] == 0


def test_drifted_features_are_described_as_in_the_catalogue(shop_copy, champion, settings):
    clock.configure(fixed=shop_copy.end)
    found = report(shop_copy.lake, shop_copy.database)
    for said in (_terminal(found), found.html(settings)):
        assert "spend in the last 28 days" in said
        assert "spend_1h" not in said
        assert "spend 1h" not in said


def test_repeated_import_keeps_the_share_of_quarantined_rows(quality_report):
    data = {
        **quality_report.data,
        "quarantined": [{**quality_report.data["quarantined"][0], "rows": 100}],
    }
    data["imports"] = {**data["imports"], "rows_read": 10 * data["imports"]["rows_read"]}
    rows = sum(data["rows"].values())
    share = f"{100 * 100 / (rows + 100):.0f}% of all rows are in quarantine"
    assert any(limit["limit"].startswith(share) for limit in limits(data))
