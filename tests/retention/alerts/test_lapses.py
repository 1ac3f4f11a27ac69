"""Test which rises of lapses are unusual, and the false-alarm rate."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention.alerts import lapses

START = datetime(2025, 3, 3, tzinfo=UTC)  # a Monday


def orders(rows: list[tuple[str, float]]) -> pd.DataFrame:
    """Orders of customers, by days relative to the start of the week."""
    columns = {
        "customer_id": [customer for customer, _ in rows],
        "at": [START.timestamp() + 86_400 * day for _, day in rows],
    }
    return pd.DataFrame(columns)


def test_a_customer_lapses_when_the_silence_reaches_the_horizon_in_the_week():
    table = orders(
        [
            ("due", -25),  # 28 days of silence on day 3
            ("back in time", -25),
            ("back in time", 2),
            ("back too late", -25),
            ("back too late", 5),
            ("not yet", -10),
            ("long gone", -40),
            ("new", 1),
        ]
    )
    assert lapses.count_lapses(table, START, 28) == (2, 4)
    assert lapses.count_lapses(table, START, 28, {"due", "not yet"}) == (1, 2)


def test_later_orders_change_no_count():
    table = orders([("a", -25), ("b", -26), ("c", -5)])
    later = orders([("a", 7), ("b", 8), ("c", 30)])
    expected = lapses.count_lapses(table, START, 28)
    assert lapses.count_lapses(pd.concat([table, later]), START, 28) == expected


@pytest.mark.parametrize(
    ("share", "size", "spread"), [(0.05, 100, 0), (0.1, 400, 0), (0.05, 300, 60)]
)
def test_false_alarm_rate_is_at_most_the_stated_one(share, size, spread):
    """Also where the weeks vary more than chance (beta-binomial)."""
    rng, runs, weeks = np.random.default_rng(5), 1_500, lapses.BASELINE_WEEKS + 1
    chances = rng.beta(share * spread, (1 - share) * spread, (runs, weeks)) if spread else share
    counts = rng.binomial(size, chances, (runs, weeks))
    sizes = np.full(weeks, size)
    alarms = sum(lapses.rise_test(row, sizes)[1] <= lapses.ALPHA for row in counts)
    limit = runs * lapses.ALPHA
    assert alarms <= limit + 3 * np.sqrt(limit)


def test_doubled_lapses_are_unusual_and_usual_ones_are_not():
    def found(last):
        weeks = [20, 22, 18, 19, 21, 23, 17, 20, 22, 19, 18, 21, last]
        from_start = enumerate(weeks)
        counts = [
            (START + timedelta(days=7 * number), lapsed, 400) for number, lapsed in from_start
        ]
        return lapses.rise(counts)

    assert found(45).is_unusual
    assert found(45).expected == pytest.approx(20, abs=0.5)
    assert not found(24).is_unusual
    assert not found(0).is_unusual


def test_empty_weeks_raise_no_alarm():
    counts = [(START, 0, 0)] * 12 + [(START, 5, 10)]
    assert not lapses.rise(counts).is_unusual
