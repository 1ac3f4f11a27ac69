"""Test the Slack message of the data quality report."""

import json

from retention import clock
from retention.lake import Lake
from retention.reports.quality import report
from tests.retention.reports.samples import (
    UNTIL,
    event_importer,
    lake_with_gap_and_spike,
    register_champion,
)
from workers.delivery import render


def _message(page) -> str:
    values = {"zone": "UTC", "demo": False, **page.data}
    return json.dumps(render.message("data/quality", **values).blocks, ensure_ascii=False)


def test_quality_message_names_gaps_imports_quarantine_and_limits(settings, database, tmp_path):
    clock.configure(fixed=UNTIL)
    lake = lake_with_gap_and_spike(event_importer(settings, database, tmp_path))
    text = _message(report(lake, database))
    assert "0 excluded by the map, 1 in quarantine" in text
    for words in ("14 Apr", "customer_id is missing", "seasons are known after 13", "No margin"):
        assert words in text


def test_quality_message_of_an_empty_lake_says_so(settings, database):
    assert "no data yet" in _message(report(Lake.open(settings), database))


def test_quality_message_describes_drifted_features_in_words(shop_copy):
    register_champion(shop_copy)
    clock.configure(fixed=shop_copy.end)
    text = _message(report(shop_copy.lake, shop_copy.database))
    assert "spend in the last 28 days" in text
    assert "spend_1h" not in text
    assert "spend 1h" not in text
