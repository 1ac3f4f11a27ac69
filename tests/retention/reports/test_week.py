"""The week's counts, each by a customer made for it."""

from datetime import timedelta

from retention.reports.week import SHOWN, week
from tests.retention.reports.conftest import UNTIL, bought


def counted(lake, until=UNTIL):
    return week(lake, until, quiet_days=28)


def test_week_counts_each_kind_of_customer_once(lake_of):
    found = counted(
        lake_of(
            bought("regular", 1, 8, 15, 22),
            bought("new", 0.5, 3),
            bought("returned", 2, 40),
            bought("lapsed", 30, 50),
            bought("lapsed before", 38),
            bought("long gone", 90),
        )
    )
    assert (found.active, found.active_before) == (3, 1)
    assert (found.new, found.returned) == (1, 1)
    assert (found.lapsed, found.lapsed_before) == (1, 1)
    assert (found.orders, found.revenue, found.revenue_before) == (4, 40, 10)


def test_customer_who_lapses_and_returns_counts_as_returned(lake_of):
    found = counted(lake_of(bought("c", 3, 32)))
    assert (found.returned, found.lapsed, found.new) == (1, 0, 0)


def test_silence_of_exactly_28_days_counts(lake_of):
    assert counted(lake_of(bought("c", 2, 30))).returned == 1
    assert counted(lake_of(bought("c", 2, 29.9))).returned == 0


def test_week_ignores_events_at_or_after_its_end(lake_of):
    lake = lake_of(bought("a", 1, 9, 60))
    before = counted(lake)
    lake_of(
        bought("a", 0, -1), bought("b", -2), bought("c", 5, available_at=UNTIL + timedelta(days=1))
    )
    assert counted(lake) == before


def test_weeks_are_oldest_first_and_begin_with_the_first_purchase(lake_of):
    found = counted(lake_of(bought("a", 1, 20)))
    assert [number for _, number in found.weeks] == [1, 0, 1]
    assert found.weeks[-1][0] == found.since == UNTIL - timedelta(days=7)
    assert len(counted(lake_of(bought("b", 300, *range(1, 200, 7)))).weeks) == SHOWN


def test_simulated_orders_are_counted_apart(lake_of):
    lake = lake_of(bought("a", 1), bought("b", 2, 3, source="simulated"))
    assert counted(lake).simulated == 2


def test_week_before_the_first_event_is_zero(lake_of):
    found = counted(lake_of(bought("a", 1)), UNTIL - timedelta(days=50))
    assert (found.active, found.new, found.lapsed, found.revenue, found.weeks[-1][1]) == (
        0,
        0,
        0,
        0,
        0,
    )
