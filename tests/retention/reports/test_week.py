"""The week's counts, each by a customer made for it."""

from datetime import UTC, datetime, timedelta

from retention.reports.week import SHOWN, week
from tests.retention.reports.samples import UNTIL, bought


def count_week(lake, until=UNTIL):
    return week(lake, until, quiet_days=28)


def test_week_counts_each_kind_of_customer_once(lake_of):
    lake = lake_of(
        bought("regular", 1, 8, 15, 22),
        bought("new", 0.5, 3),
        bought("returned", 2, 40),
        bought("lapsed", 30, 50),
        bought("lapsed before", 38),
        bought("long gone", 90),
    )
    activity = count_week(lake)
    assert (activity.active, activity.active_before) == (3, 1)
    assert (activity.new, activity.returned) == (1, 1)
    assert (activity.lapsed, activity.lapsed_before) == (1, 2)  # "returned" lapsed last week
    assert (activity.orders, activity.revenue, activity.revenue_before) == (4, 40, 10)


def test_customer_who_lapses_and_returns_counts_as_returned(lake_of):
    activity = count_week(lake_of(bought("c", 3, 32)))
    assert (activity.returned, activity.lapsed, activity.new) == (1, 0, 0)


def test_customers_who_returned_since_still_count_as_lapsed_last_week(lake_of):
    """A change from 3 to 2 was shown as a rise, because two of the three ordered again."""
    lake = lake_of(
        bought("lapsed 1", 30),
        bought("lapsed 2", 31),
        bought("earlier 1", 2, 37),
        bought("earlier 2", 5, 38),
        bought("earlier 3", 39),
    )
    activity = count_week(lake)
    assert (activity.lapsed, activity.lapsed_before) == (2, 3)


def test_lapsed_before_is_what_last_week_counted(lake_of):
    lake = lake_of(*(bought(f"c{day}", day % 14 + 0.5, day) for day in range(20, 60)))
    last_week = count_week(lake, UNTIL - timedelta(days=7))
    assert last_week.lapsed > 0
    assert count_week(lake).lapsed_before == last_week.lapsed


def test_silence_of_exactly_28_days_counts(lake_of):
    assert count_week(lake_of(bought("c", 2, 30))).returned == 1
    assert count_week(lake_of(bought("c", 2, 29.9))).returned == 0


def test_week_ignores_events_at_or_after_its_end(lake_of):
    lake = lake_of(bought("a", 1, 9, 60))
    before = count_week(lake)
    available_at = UNTIL + timedelta(days=1)
    lake_of(bought("a", 0, -1), bought("b", -2), bought("c", 5, available_at=available_at))
    assert count_week(lake) == before


def test_weeks_are_oldest_first_and_begin_with_the_first_purchase(lake_of):
    activity = count_week(lake_of(bought("a", 1, 20)))
    assert [number for _, number in activity.weeks] == [1, 0, 1]
    assert activity.weeks[-1][0] == activity.since == UNTIL - timedelta(days=7)
    assert len(count_week(lake_of(bought("b", 300, *range(1, 200, 7)))).weeks) == SHOWN


def test_simulated_orders_are_counted_apart(lake_of):
    lake = lake_of(bought("a", 1), bought("b", 2, 3, source="simulated"))
    assert count_week(lake).simulated == 2


def test_week_before_the_first_event_is_zero(lake_of):
    activity = count_week(lake_of(bought("a", 1)), UNTIL - timedelta(days=50))
    assert (activity.active, activity.new, activity.lapsed) == (0, 0, 0)
    assert (activity.revenue, activity.weeks[-1][1]) == (0, 0)


def test_weeks_follow_the_shops_clock_when_it_changes(lake_of):
    """In New York, the week to 6 Nov 2017 has 169 hours."""
    lake = lake_of(bought("c", 1))
    lake.zone = "America/New_York"
    until = datetime(2017, 11, 6, 5, tzinfo=UTC)
    activity = week(lake, until, quiet_days=28)
    assert activity.since == datetime(2017, 10, 30, 4, tzinfo=UTC)
