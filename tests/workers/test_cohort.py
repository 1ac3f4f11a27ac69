"""The cohort table fits into a message, however many months it has."""

from datetime import UTC, datetime

from retention.reports.cohorts import Cohorts, MonthCohort
from workers.delivery import render


def test_cohorts_of_two_years_fit_one_message():
    rows = tuple(
        MonthCohort(f"2025-{month % 12 + 1:02}", 12_345, (1.0, *(0.25,) * month))
        for month in range(23, -1, -1)
    )
    data = Cohorts(datetime(2026, 1, 1, tzinfo=UTC), rows, rows[0].retained).as_dict()
    message = render.message("cohort/table", zone="UTC", **data, note="")
    table = message.blocks[2]["text"]["text"]
    assert len(table) < 3000
    assert table.count("\n") == 25
    assert "2025-12   12345 100  25" in table
