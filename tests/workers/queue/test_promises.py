"""Test the report of forecasts against results."""

from datetime import UTC, datetime

import pytest

from retention import templating
from tests.retention.campaigns.samples import a_body
from tests.retention.reports.samples import add_campaign
from workers.delivery import render
from workers.job_requests import PromisesReport
from workers.tasks.interface import Context
from workers.tasks.reports import figures

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def _result(profit: float, margin: float, advice: str = "undecided") -> dict:
    low, high = profit - margin, profit + margin
    effect = {"total": profit, "total_low": low, "total_high": high}
    effect |= {"per_customer": profit / 85, "low": low / 85, "high": high / 85}
    effect["standard_error"] = margin / 170
    sizes = {"treated": 85, "control": 15, "believable": True}
    result = {"advice": advice, "sample_ratio": sizes, "cost": 9.0, "redeemed": 1}
    return {**result, "effects": {"profit": effect, "buyers": effect}}


def _report(database, *results: dict | None) -> dict:
    closed = {"state": "closed", "created_at": NOW, "sent_at": NOW, "approved_by": ["U0LEAD"]}
    closed["body"] = a_body().model_dump(mode="json")
    for number, result in enumerate(results):
        add_campaign(database, f"c{number}", name=f"May {number}", result=result, **closed)
    context = Context(database, "j1", 1, "U0VIEWER", "C0CRM", None, NOW)
    outcome = figures.run_promises_report(PromisesReport(), context)
    (post,) = outcome.posts
    shown = render.message(post.template, **post.values, zone="UTC")
    typed = templating.text("terminal/promises_report.txt.j2", **outcome.data)
    return outcome.data | {"shown": str(shown.blocks), "typed": typed}


def test_report_counts_how_often_the_promised_range_held(database):
    plan = a_body().plan()
    near, far = _result(plan.profit_high + 10, 50), _result(plan.profit_low - 100, 20)
    unreadable = _result(0, 5, "too_small"), None
    data = _report(database, _result(plan.profit, 5), near, far, *unreadable)
    assert [one["held"] for one in data["campaigns"]] == [True, False, False]
    assert (data["held"], data["overlapping"], data["unreadable"]) == (1, 2, 1)
    assert data["promised"]["profit"] == pytest.approx(3 * plan.profit)
    assert data["promised"]["low"] == pytest.approx(3 * plan.profit_low)
    for text in (data["shown"], data["typed"]):
        assert "1 of 3 campaigns kept their promise" in text
        assert "1 campaign had no readable result" in text
    assert "'type': 'table'" in data["shown"]


def test_errors_of_independent_results_add_up_as_variances(database):
    data = _report(database, _result(100, 30), _result(50, 40))
    assert data["measured"]["profit"] == pytest.approx(150)
    assert data["measured"]["low"] == pytest.approx(100)
    assert data["measured"]["high"] == pytest.approx(200)


def test_report_without_results_says_what_is_missing(database):
    data = _report(database, None)
    assert data["campaigns"] == []
    assert "No campaign has a readable result yet" in data["shown"]
    assert "No campaign has a readable result yet" in data["typed"]
