"""Retention by cohort: counted by hand, blind to what comes later, by the shop's own months."""

from datetime import UTC, datetime

import pytest

from retention.errors import TooLittleData
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.reports.cohorts import MonthCohort, cohorts
from retention.settings import Settings

ROWS = (
    ("a", "2025-01-05 10:00"),
    ("a", "2025-02-01 10:00"),
    ("a", "2025-02-09 10:00"),
    ("a", "2025-03-09 10:00"),
    ("b", "2025-01-07 10:00"),
    ("b", "2025-03-09 10:00"),
    ("c", "2025-02-11 10:00"),
    ("d", "2025-02-28 23:30"),
    ("d", "2025-03-31 23:30"),
)


def _lake(tmp_path, rows, zone="UTC", name="home"):
    settings = Settings(home=tmp_path / name, timezone=zone, _env_file=None)
    file = tmp_path / "events.csv"
    file.write_text(
        "customer_id,event_type,occurred_at\n"
        + "".join(f"{customer},purchase,{at}\n" for customer, at in rows)
    )
    lake = Lake.open(settings)
    import_files(lake, None, settings, "events", [str(file)])
    return lake


def test_cohorts_equal_a_manual_count_and_ignore_later_orders(tmp_path):
    at = datetime(2025, 4, 2, tzinfo=UTC)
    result = cohorts(_lake(tmp_path, ROWS), at)
    expected = (MonthCohort("2025-01", 2, (1.0, 0.5, 1.0)), MonthCohort("2025-02", 2, (1.0, 0.5)))
    assert result.cohorts == expected
    assert result.average == (1.0, 0.5, 1.0)
    future = (*ROWS, ("c", "2025-04-02 00:00"), ("e", "2025-04-03 10:00"))
    assert cohorts(_lake(tmp_path, future, name="later"), at) == result


def test_months_follow_the_shops_time_zone(tmp_path):
    result = cohorts(_lake(tmp_path, ROWS, "Europe/Berlin"), datetime(2025, 4, 30, tzinfo=UTC))
    expected = [("2025-01", 2), ("2025-02", 1), ("2025-03", 1)]
    assert [(c.month, c.customers) for c in result.cohorts] == expected


def test_month_is_whole_at_the_end_of_its_last_day(tmp_path):
    at = datetime(2025, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    result = cohorts(_lake(tmp_path, ROWS), at)
    assert result.cohorts[0] == MonthCohort("2025-01", 2, (1.0, 0.5, 1.0))


def test_shop_without_new_customers_shows_its_newest_cohorts(tmp_path):
    rows = (("a", "2025-01-05 10:00"), ("b", "2025-02-05 10:00"), ("a", "2025-05-05 10:00"))
    lake, at = _lake(tmp_path, rows), datetime(2025, 6, 2, tzinfo=UTC)
    expected = (MonthCohort("2025-01", 1, (1.0, 0.0)), MonthCohort("2025-02", 1, (1.0, 0.0)))
    assert cohorts(lake, at, months=2).cohorts == expected
    assert cohorts(lake, at).cohorts == (
        MonthCohort("2025-01", 1, (1.0, 0.0, 0.0, 0.0, 1.0)),
        MonthCohort("2025-02", 1, (1.0, 0.0, 0.0, 0.0)),
    )


def test_months_limit_cohorts_and_their_length(tmp_path):
    months = {"a": "2020-01", "b": "2024-11", "c": "2025-01"}
    rows = [(who, f"{month}-05 10:00") for who, month in months.items()]
    lake, at = _lake(tmp_path, [*rows, ("a", "2025-05-05 10:00")]), datetime(2025, 6, 2, tzinfo=UTC)
    result = cohorts(lake, at, months=3)
    assert [(c.month, len(c.retained)) for c in result.cohorts] == [("2024-11", 3), ("2025-01", 3)]
    assert len(result.average) == 3
    assert cohorts(lake, at, months=1).average == (1.0,)


def test_only_cohort_of_a_shop_without_new_customers_is_shown(tmp_path):
    rows = (("a", "2023-01-05 10:00"), ("a", "2025-01-05 10:00"), ("a", "2025-05-05 10:00"))
    result = cohorts(_lake(tmp_path, rows), datetime(2025, 6, 2, tzinfo=UTC))
    assert result.cohorts == (MonthCohort("2023-01", 1, (1.0, *[0.0] * 11)),)


def test_cohorts_need_two_months(tmp_path):
    with pytest.raises(TooLittleData, match="two whole months"):
        cohorts(_lake(tmp_path, ROWS[:1]), datetime(2025, 4, 2, tzinfo=UTC))
