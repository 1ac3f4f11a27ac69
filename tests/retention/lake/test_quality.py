"""The quality report says what is there and how complete it is, up to business time."""

from datetime import date, timedelta

import pytest

from retention import clock
from retention.lake import Lake
from retention.lake.quality import quality


def test_report_has_freshness_and_completeness(shop):
    clock.configure(fixed=shop.end + timedelta(days=2))
    report = quality(shop.lake, shop.settings)
    assert report["rows"]["customers"] == 300
    assert report["filled"]["events"]["amount"] == 1.0
    assert report["filled"]["customers"]["email"] == 1.0
    assert 2.0 <= report["age_days"] < 3.0
    assert report["unknown_customers"] == report["unknown_items"] == 0
    assert report["currencies"] == {"EUR": report["rows"]["events"]}
    assert report["quarantine"] == {}


def test_report_ignores_future_events(shop):
    clock.configure(fixed=shop.begin + timedelta(days=50))
    assert quality(shop.lake, shop.settings)["days"] <= 50


@pytest.mark.parametrize(
    ("saturday", "usual", "wrong", "spikes"),
    [
        # Saturdays see a return or two; an outage and a flood are told.
        ((1, 2), 100, {"2025-03-19": 3, "2025-04-12": 900}, {"2025-03-19": 3, "2025-04-12": 900}),
        # One view where six are usual on a Saturday is chance; an unusual Saturday is reported.
        ((6, 6), 300, {"2025-03-22": 1, "2025-05-10": 55}, {"2025-05-10": 55}),
    ],
)
def test_spikes_compare_days_with_those_alike(
    lake, settings, import_file, saturday, usual, wrong, spikes
):
    rows = []
    for n in range(180):
        day = date(2025, 1, 1) + timedelta(days=n)
        number = saturday[day.day % 2] if day.weekday() == 5 else usual
        views = range(wrong.get(str(day), number))
        rows += [f"{view},view,{day} 10:00:00,{day}-{view}" for view in views]
    import_file("customer_id,event_type,occurred_at,event_id\n" + "\n".join(rows))
    found = quality(lake, settings)["volume"]["spikes"]
    assert {spike["day"]: spike["events"] for spike in found} == spikes
    assert {spike["usual"] for spike in found} == {usual}


def test_empty_lake_has_a_report(settings):
    report = quality(Lake.open(settings), settings)
    assert report["newest_event"] is None
    assert report["rows"] == {"events": 0, "customers": 0, "items": 0, "treatments": 0}
