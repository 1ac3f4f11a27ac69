"""The quality report says what is there, how complete it is, and sees no further than business time."""

from datetime import timedelta

from retention import clock
from retention.lake import Lake
from retention.lake.quality import quality


def test_it_says_how_fresh_and_how_complete_the_data_is(shop):
    clock.configure(fixed=shop.end + timedelta(days=2))
    report = quality(shop.lake, shop.settings)
    assert report["rows"]["customers"] == 300
    assert report["filled"]["events"]["amount"] == 1.0
    assert report["filled"]["customers"]["email"] == 1.0
    assert 2.0 <= report["age_days"] < 3.0
    assert report["unknown_customers"] == report["unknown_items"] == 0
    assert report["currencies"] == {"EUR": report["rows"]["events"]}
    assert report["quarantine"] == {}


def test_it_knows_nothing_of_the_future(shop):
    clock.configure(fixed=shop.begin + timedelta(days=50))
    assert quality(shop.lake, shop.settings)["days"] <= 50


def test_an_empty_lake_has_a_report_too(settings):
    report = quality(Lake.open(settings), settings)
    assert report["newest_event"] is None
    assert report["rows"] == {"events": 0, "customers": 0, "items": 0, "treatments": 0}
