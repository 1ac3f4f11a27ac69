"""Test which channels are late, and the sentence about it."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import duckdb
import pytest

from retention.lake.coverage import late_channels
from retention.reports.verdicts import data_verdict, digest_headline

THURSDAY = datetime(2017, 10, 5, 15, tzinfo=UTC)
FIRST = date(2017, 8, 20)


@pytest.fixture
def lake():
    connection = duckdb.connect()
    sql = "CREATE TABLE e (channel VARCHAR, event_type VARCHAR, occurred_at TIMESTAMP)"
    connection.execute(sql)
    yield SimpleNamespace(duckdb=connection)
    connection.close()


def sell(lake, channel, last, *, closed=(), event_type="purchase"):
    day = FIRST
    while day <= last:
        if day.weekday() not in closed:
            values = [channel, event_type, datetime(day.year, day.month, day.day, 11)]
            lake.duckdb.execute("INSERT INTO e VALUES (?, ?, ?)", values)
        day += timedelta(days=1)


def test_only_the_channel_whose_orders_stopped_is_late(lake):
    sell(lake, "web", date(2017, 10, 4))
    sell(lake, "store", date(2017, 10, 1))
    sell(lake, "store", date(2017, 10, 5), event_type="view")
    expected = [{"channel": "store", "since": "2017-10-02", "days": 3}]
    assert late_channels(lake, "e", THURSDAY) == expected


def test_usual_pauses_are_not_late(lake):
    sell(lake, "store", date(2017, 10, 2), closed=(1, 2, 3))  # closed from Tuesday to Thursday
    assert late_channels(lake, "e", THURSDAY) == []


def test_rare_orders_and_today_are_not_late(lake):
    lake.duckdb.execute("INSERT INTO e VALUES ('phone', 'purchase', TIMESTAMP '2017-09-01')")
    sell(lake, None, date(2017, 10, 4))
    assert late_channels(lake, "e", THURSDAY) == []


REPORT = {
    "newest_event": "2017-10-03T20:00:00+00:00",
    "age_days": 2.1,
    "late": [],
    "quarantined": [],
    "limits": [],
    "as_of": THURSDAY.isoformat(),
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Data is 2 days old and complete."),
        (
            {"late": [{"channel": "store", "since": "2017-10-02", "days": 3}]},
            "Data is 2 days old; orders from store are missing since Monday.",
        ),
        (
            {"late": [{"channel": None, "since": "2017-09-02", "days": 33}]},
            "Data is 2 days old; orders are missing since 2 Sep 2017.",
        ),
        ({"quarantined": [{"rows": 14}]}, "Data is 2 days old; 14 rows could not be used."),
        (
            {"limits": [1, 2], "age_days": 0.4},
            "Data is less than a day old; 2 limits to know about.",
        ),
        ({"newest_event": None}, "There is no data yet: no events have been imported."),
    ],
)
def test_data_has_a_verdict_in_words(changes, sentence):
    assert data_verdict({**REPORT, **changes}) == sentence


def test_headline_of_a_digest_without_scores_counts_buyers():
    week = {"active": 1328, "active_before": 1340}
    data = {"risk": None, "customers": week, "currency": "USD"}
    assert digest_headline(data) == ("1,328 customers bought this week, 12 fewer than last week.")
