"""The quality report says what is odd, what limits the models, and how to mend it, in every place where it is shown."""

import json
from datetime import timedelta

import numpy as np
import pytest

from retention import clock, templating
from retention.db.tables import ModelVersion
from retention.lake import Lake
from retention.reports.data_limits import limits
from retention.reports.quality import report
from tests.retention.reports.conftest import UNTIL, bought
from workers.delivery import render


def _as_text(quality_report) -> str:
    """The report in Slack, in the terminal and as a page, as text."""
    values = {
        "zone": "UTC",
        "demo": False,
        "alt_text": quality_report.chart.alt_text,
        **quality_report.data,
    }
    message = render.message("data/quality", **values)
    terminal = templating.text(
        "terminal/data_quality.txt.j2",
        result=quality_report.data,
        **{"zone": "UTC", **quality_report.data},
    )
    return "\n".join([json.dumps(message.blocks, ensure_ascii=False), terminal])


@pytest.fixture
def quality_report(lake_of, settings, database):
    """A shop of three customers that was silent for ten days and once sold everything at once."""
    clock.configure(fixed=UNTIL)
    days = [day for day in range(1, 120) if not 40 <= day < 50]
    lines = [
        bought(customer, *[day + hour / 24 for day in days]) for hour, customer in enumerate("abc")
    ]
    rush = bought("a", *[80 + step / 300 for step in range(1, 90)])
    unassigned = [{**bought("x", 5)[0], "customer_id": None}]
    return report(lake_of(*lines, rush, unassigned), database, settings)


def test_report_shows_gaps_spikes_and_quarantine(quality_report):
    volume = quality_report.data["volume"]
    assert volume["gaps"] == [{"since": "2025-04-14", "until": "2025-04-23", "days": 10}]
    assert [spike["usual"] for spike in volume["spikes"]] == [3]
    assert quality_report.data["quarantined"][0]["reason"] == "customer_id is missing"
    assert quality_report.data["imports"]["rows_read"] == sum(
        quality_report.data["imports"][f"rows_{fate}"]
        for fate in ("accepted", "duplicate", "filtered", "quarantined")
    )
    shown_text = _as_text(quality_report)
    assert "0 were not meant, 1 were set aside." in shown_text
    for words in ("2025-04-14", "customer_id is missing", "calendar features need 13", "no margin"):
        assert words in shown_text


def test_every_limit_has_a_remedy(quality_report):
    limits = {limit["limit"]: limit["remedy"] for limit in quality_report.data["limits"]}
    assert limits["4 months of history: calendar features need 13"].startswith(
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


def test_empty_lake_has_a_quality_report(settings, database):
    quality_report = report(Lake.open(settings), database, settings)
    assert quality_report.data["limits"][0]["limit"] == "no events: nothing can be predicted"
    assert "no events" in _as_text(quality_report)
    assert quality_report.html(settings)


@pytest.fixture
def champion(shop_copy):
    """Profiles of a champion that is registered in a copy of the shop; it learned from a dearer one."""
    from retention.churn.drift import profile
    from retention.churn.snapshots import take_snapshot

    cutoff = shop_copy.end - timedelta(days=60)
    people = take_snapshot(
        shop_copy.lake, cutoff, horizon_days=28, active_within_days=56, labelled=False
    )
    names = ("orders_all", "spend_1h")
    people.frame["spend_1h"] += 1000  # as if the shop had been dearer
    profiles = {name: profile(people.matrix([name])[:, 0]) for name in names}
    row = ModelVersion(
        team_id=shop_copy.settings.team_id,
        version="churn-test",
        kind="churn",
        state="champion",
        estimator="logistic",
        cutoff=cutoff,
        horizon_days=28,
        active_within_days=56,
        data_fingerprint="",
        code_version="",
        seed=0,
        artefact="",
        sha256="",
        hmac="",
        created_by="U0ANA",
        metrics={"reference": {"features": profiles}},
        promoted_at=cutoff,
    )
    with shop_copy.database.transaction() as session:
        session.add(row)
    return profiles


def test_drift_compares_with_the_training_window(shop_copy, champion):
    clock.configure(fixed=shop_copy.end)
    drift = report(shop_copy.lake, shop_copy.database, shop_copy.settings).data["drift"]
    assert set(drift["features"]) == set(champion)
    assert drift["features"]["orders_all"] > drift["limit"]  # orders ever can only grow
    assert drift["moved"] == ["spend_1h"]
    assert drift["largest"] == drift["features"]["spend_1h"]
    assert np.isfinite(drift["event_mix"])
    clock.configure(fixed=shop_copy.end - timedelta(days=60))
    assert (
        report(shop_copy.lake, shop_copy.database, shop_copy.settings).data["drift"]["features"][
            "orders_all"
        ]
        == 0
    )


def test_drifted_features_are_described_as_in_the_catalogue(shop_copy, champion, settings):
    clock.configure(fixed=shop_copy.end)
    quality_report = report(shop_copy.lake, shop_copy.database, shop_copy.settings)
    for shown_text in (_as_text(quality_report), quality_report.html(settings)):
        assert "spend in the last H" in shown_text
        assert "spend_1h" not in shown_text
        assert "spend 1h" not in shown_text


def test_repeated_import_keeps_the_share_of_quarantined_rows(quality_report):
    data = {
        **quality_report.data,
        "quarantined": [{**quality_report.data["quarantined"][0], "rows": 100}],
    }
    data["imports"] = {**data["imports"], "rows_read": 10 * data["imports"]["rows_read"]}
    rows = sum(data["rows"].values())
    share = f"{100 * 100 / (rows + 100):.0f} % of all rows are in quarantine"
    assert any(limit["limit"].startswith(share) for limit in limits(data))
