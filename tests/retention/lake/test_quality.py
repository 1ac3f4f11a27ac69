"""The quality report says what is there and how complete it is, up to business time."""

from datetime import date, timedelta

from retention import clock
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
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


def test_closed_weekday_is_no_spike(lake, settings, tmp_path):
    """Saturdays see a return or two; an outage and a flood are told."""
    begin = date(2025, 1, 1)
    days = [begin + timedelta(days=n) for n in range(180)]
    wrong = {date(2025, 3, 19): 3, date(2025, 4, 12): 900}
    rows = [
        f"{n},view,{day} 10:00:00,{day}-{n}"
        for day in days
        for n in range(wrong.get(day, 1 + day.day % 2 if day.weekday() == 5 else 100))
    ]
    text = "customer_id,event_type,occurred_at,event_id\n" + "\n".join(rows)
    (tmp_path / "views.csv").write_text(text)
    import_files(lake, None, settings, "events", [str(tmp_path / "views.csv")])
    spikes = quality(lake, settings)["volume"]["spikes"]
    expected = {"2025-03-19": 3, "2025-04-12": 900}
    assert {spike["day"]: spike["events"] for spike in spikes} == expected


def test_spikes_compare_quiet_weekdays_with_themselves(lake, settings, tmp_path):
    """One view where six are usual on a Saturday is chance; an unusual Saturday is reported."""
    begin = date(2025, 1, 1)
    days = [begin + timedelta(days=n) for n in range(180)]
    wrong = {date(2025, 3, 22): 1, date(2025, 5, 10): 55}
    rows = [
        f"{n},view,{day} 10:00:00,{day}-{n}"
        for day in days
        for n in range(wrong.get(day, 6 if day.weekday() == 5 else 300))
    ]
    text = "customer_id,event_type,occurred_at,event_id\n" + "\n".join(rows)
    (tmp_path / "views.csv").write_text(text)
    import_files(lake, None, settings, "events", [str(tmp_path / "views.csv")])
    spikes = quality(lake, settings)["volume"]["spikes"]
    assert spikes == [{"day": "2025-05-10", "events": 55, "usual": 300}]


def test_empty_lake_has_a_report(settings):
    report = quality(Lake.open(settings), settings)
    assert report["newest_event"] is None
    assert report["rows"] == {"events": 0, "customers": 0, "items": 0, "treatments": 0}
