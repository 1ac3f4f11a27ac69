"""Test the calendar: what sends and ends, public holidays, customers in two campaigns."""

from datetime import UTC, date, datetime, timedelta

import pytest

from retention.campaigns.planning.calendar import coming_weeks, public_holidays
from retention.errors import BadInput
from tests.retention.campaigns.samples import NOW, approve_draft, audience_rows, store_draft

WEEKS = timedelta(weeks=6)


def rows(first: int, number: int) -> list[dict]:
    return audience_rows(number, name=lambda place: f"k{first + place}")


def test_calendar_has_open_and_approved_campaigns_of_the_coming_weeks(database):
    approve_draft(database, "c1", rows(0, 40), name="Live one")
    with database.transaction() as session:
        soon, late = NOW + timedelta(days=7), NOW + WEEKS + timedelta(days=1)
        store_draft(session, "c2", rows(30, 20), name="In a week", send_on=soon)
        store_draft(session, "c3", rows(0, 5), name="Too late", send_on=late)
    with database.reading() as session:
        calendar = coming_weeks(session, NOW, 6, "")
    assert [(one.campaign_id, one.is_decided) for one in calendar.campaigns] == [
        ("c1", True),
        ("c2", False),
    ]
    assert calendar.campaigns[1].sends_at == soon
    assert calendar.campaigns[1].ends_at == soon + timedelta(days=28)
    assert [(one.first, one.second, one.customers) for one in calendar.shared] == [("c1", "c2", 10)]
    kinds = [(entry["kind"], entry["what"]) for entry in calendar.entries()]
    assert kinds == [("sends", "c1"), ("sends", "c2"), ("ends", "c1"), ("ends", "c2")]
    assert not calendar.holidays


def test_many_drafts_hide_no_approved_campaign(database):
    approve_draft(database, "c0", rows(0, 20))
    with database.transaction() as session:
        for number in range(60):
            later = NOW + timedelta(minutes=number)
            store_draft(session, f"d{number}", rows(100 * number, 2), now=later)
        store_draft(session, "old", rows(0, 2), now=NOW - timedelta(weeks=20))
    with database.reading() as session:
        shown = {one.campaign_id for one in coming_weeks(session, NOW, 6, "").campaigns}
    assert shown == {"c0", *(f"d{number}" for number in range(60))}


def test_sending_on_a_public_holiday_is_marked(database):
    unity = datetime(2025, 10, 3, 9, tzinfo=UTC)
    now = datetime(2025, 9, 20, 9, tzinfo=UTC)
    with database.transaction() as session:
        store_draft(session, "c1", rows(0, 20), now=now, send_on=unity)
    with database.reading() as session:
        calendar = coming_weeks(session, now, 6, "DE")
    assert date(2025, 10, 3) in calendar.holidays
    assert calendar.campaigns[0].holiday == calendar.holidays[date(2025, 10, 3)]


def test_unknown_country_is_named():
    with pytest.raises(BadInput, match="'XX'") as refusal:
        public_holidays("XX", date(2025, 1, 1), date(2025, 2, 1))
    assert refusal.value.field == "country"
    assert public_holidays("", date(2025, 1, 1), date(2025, 2, 1)) == {}
