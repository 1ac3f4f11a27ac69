"""Test reports as Slack messages with a page in their thread."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retention import clock
from retention.db import Database
from retention.lake import Lake
from retention.reports.cohorts import Cohorts, MonthCohort
from retention.reports.quality import report
from tests.retention.recommend.responses_shop import NOW, make_responses_shop, send_campaign
from tests.retention.reports.samples import (
    UNTIL,
    event_importer,
    lake_with_gap_and_spike,
    register_champion,
)
from workers.delivery import render
from workers.job_requests import DataQuality, ModelCard, RecommendReport
from workers.tasks.data import lake_upkeep
from workers.tasks.interface import Context, Outcome
from workers.tasks.models import model_reports


def _blocks(template: str, values: dict[str, Any]) -> str:
    shown = render.message(template, **{"zone": "UTC", "demo": False, **values})
    return json.dumps(shown.blocks, ensure_ascii=False)


def _context(database: Database, at: datetime) -> Context:
    return Context(database, "j", 1, "U1", "C0CRM", None, at)


def _posted(outcome: Outcome) -> tuple[str, str]:
    """Return the blocks of the message and the page in its thread."""
    message, page = outcome.posts
    assert (page.file.mime, page.thread_key) == ("text/html", "job:j")
    html = page.file.content.decode()
    assert html.startswith("<!doctype html>")
    assert json.dumps(outcome.data)
    return _blocks(message.template, message.values), html


@pytest.mark.nightly
def test_model_card_is_a_message_and_a_page(champion_shop_copy):
    context = _context(champion_shop_copy.database, champion_shop_copy.end)
    blocks, _ = _posted(model_reports.run_model_card(ModelCard(), context))
    assert "Model card" in blocks


def test_recommend_report_is_a_message_and_a_page(tmp_path):
    context = _context(send_campaign(make_responses_shop(tmp_path)).database, NOW)
    outcome = model_reports.run_recommend_report(RecommendReport(days=90, as_of=NOW), context)
    blocks, html = _posted(outcome)
    assert [part for part in ("By place", "bought before") if part not in blocks] == []
    chart = outcome.posts[0].images["rates"]
    assert chart.content.startswith(b"\x89PNG")
    assert "place 3: 50.0% clicked" in chart.alt_text
    assert [part for part in ("By week", "bought before") if part not in html] == []
    assert [part for part in ("<script", "buy_again") if part in html] == []


def test_quality_report_is_a_message_and_a_page(shop):
    clock.configure(fixed=shop.end + timedelta(days=1))
    context = _context(shop.database, shop.end)
    blocks, _ = _posted(lake_upkeep.run_data_quality(DataQuality(), context))
    assert "seasons are known after 13" in blocks
    assert "c0001" not in blocks


def _quality(lake: Lake, database: Database) -> str:
    return _blocks("data/quality", report(lake, database).data)


def test_quality_message_names_gaps_imports_quarantine_and_limits(settings, database):
    clock.configure(fixed=UNTIL)
    lake = lake_with_gap_and_spike(event_importer(settings, database))
    text = _quality(lake, database)
    assert "0 excluded by the map, 1 in quarantine" in text
    for words in ("14 Apr", "customer_id is missing", "No margin"):
        assert words in text


def test_quality_message_of_an_empty_lake_says_so(settings, database):
    assert "no data yet" in _quality(Lake.open(settings), database)


@pytest.mark.nightly
def test_quality_message_describes_drifted_features_in_words(shop_copy):
    register_champion(shop_copy)
    clock.configure(fixed=shop_copy.end)
    text = _quality(shop_copy.lake, shop_copy.database)
    assert "spend in the last 28 days" in text
    assert [name for name in ("spend_1h", "spend 1h") if name in text] == []


def test_cohorts_of_two_years_fit_one_message():
    rows = tuple(
        MonthCohort(f"2025-{month % 12 + 1:02}", 12_345, (1.0, *(0.25,) * month))
        for month in range(23, -1, -1)
    )
    data = Cohorts(datetime(2026, 1, 1, tzinfo=UTC), rows, rows[0].retained).as_dict()
    message = render.message("cohort/table", zone="UTC", **data, note="")
    table = message.blocks[1]["rows"]
    assert len(table) == 15  # the header, the newest 13 months and the average
    assert [cell["text"] for cell in table[-2][:3]] == ["2025-01", "12,345", "100"]
    assert "the newest 13 of 24 months" in json.dumps(message.blocks)
