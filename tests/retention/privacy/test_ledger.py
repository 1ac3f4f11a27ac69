"""Test the budget of releases with noise, and their ledger."""

from datetime import UTC, datetime, timedelta

import pytest

from retention import clock
from retention.errors import Refused
from retention.privacy import ledger
from tests.world import change, read

MONDAY = datetime(2026, 11, 30, 9, tzinfo=UTC)
FIGURES = [{"name": "vips", "unit": "customers", "value": 3, "low": 0, "high": 9}]


@pytest.fixture
def budgeted(settings, database):
    """A database with a budget of 1, which four releases use."""
    clock.configure(fixed=MONDAY)
    return database.using(settings.model_copy(update={"privacy_budget": 1.0}))


def draw(epsilon):
    return FIGURES


def test_release_beyond_the_budget_is_refused_until_monday(budgeted):
    for number in range(4):
        change(budgeted, ledger.release, "digest", f"day {number}", "U1", draw)
    with pytest.raises(Refused, match=r"needs 0.25 .* and 0 of 1 is left until 2026-12-07"):
        change(budgeted, ledger.release, "digest", "day 4", "U1", draw)
    clock.configure(fixed=MONDAY + timedelta(days=7))
    change(budgeted, ledger.release, "digest", "day 7", "U1", draw)
    assert read(budgeted, ledger.summary)["spent"] == 0.25


def test_same_period_is_released_once_with_the_same_figures(budgeted):
    rows = [
        change(budgeted, ledger.release, "audiences", "2026-W49", user, lambda _, user=user: [user])
        for user in ("U1", "U2")
    ]
    assert [row.figures for row in rows] == [["U1"], ["U1"]]
    assert read(budgeted, ledger.summary)["spent"] == 0.25


def test_training_is_written_down_and_counts(budgeted, database):
    change(budgeted, ledger.record_training, "churn-1", "U1", 0.9, 1e-6)
    with pytest.raises(Refused):
        change(budgeted, ledger.release, "digest", "today", "U1", draw)
    with pytest.raises(Refused):
        read(budgeted, ledger.check_budget, 0.2)
    change(database, ledger.record_training, "churn-2", "U1", 8.0, 1e-6)  # without a budget
    assert read(database, ledger.summary)["spent"] == 8.9


def test_week_begins_on_monday_by_the_shops_clock(settings, database):
    tokyo = database.using(settings.model_copy(update={"timezone": "Asia/Tokyo"}))
    sunday_in_utc = datetime(2026, 11, 29, 16, tzinfo=UTC)
    assert read(tokyo, ledger.week_of, sunday_in_utc) == "2026-W49"
    assert read(database, ledger.week_of, sunday_in_utc) == "2026-W48"
