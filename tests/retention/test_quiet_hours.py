"""Quiet hours: nobody is written to in them, and nobody waits longer than they last."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.clock import customer_zone, next_allowed, parse_quiet_hours

NIGHT = parse_quiet_hours("21:00-08:00")
LONDON = ZoneInfo("Europe/London")
ZONES = (
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "UTC",
)


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2025-06-03T12:00Z", "Europe/London", "2025-06-03T12:00Z"),
        ("2025-06-03T20:00Z", "Europe/London", "2025-06-04T07:00Z"),  # 21:00 there: waits for 08:00
        ("2025-06-03T19:59Z", "Europe/London", "2025-06-03T19:59Z"),
        ("2025-06-04T07:00Z", "Europe/London", "2025-06-04T07:00Z"),  # the end itself is allowed
        ("2025-06-03T12:00Z", "Australia/Sydney", "2025-06-03T22:00Z"),  # 22:00 there
        ("2025-06-03T12:00Z", "America/Los_Angeles", "2025-06-03T15:00Z"),  # 05:00 there
        # The clock goes forward in this night, and back in the next one.
        ("2025-03-30T00:30Z", "Europe/London", "2025-03-30T07:00Z"),
        ("2025-10-26T00:30Z", "Europe/London", "2025-10-26T08:00Z"),
    ],
)
def test_quiet_hours_use_the_customers_zone(now, zone, expected):
    allowed = next_allowed(datetime.fromisoformat(now), ZoneInfo(zone), NIGHT)
    assert allowed == datetime.fromisoformat(expected)


def test_ambiguous_end_of_quiet_hours_is_awaited_in_either_hour():
    until = parse_quiet_hours("00:00-01:30")
    second = datetime(2025, 10, 26, 1, 15, tzinfo=UTC)  # 01:15 in London for the second time
    assert next_allowed(second, LONDON, until) == datetime(2025, 10, 26, 1, 30, tzinfo=UTC)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.sampled_from(ZONES),
    st.times(),
    st.times(),
)
def test_allowed_moment_is_outside_quiet_hours_and_earliest(now, zone, start, end):
    now, zone = now.replace(tzinfo=UTC), ZoneInfo(zone)
    quiet = parse_quiet_hours(f"{start:%H:%M}-{end:%H:%M}")
    allowed = next_allowed(now, zone, quiet)
    assert now <= allowed <= now + timedelta(hours=26)
    if quiet is None:
        assert allowed == now
        return
    assert not quiet.contains(allowed.astimezone(zone).time())
    for part in range(1, 12):  # all the time waited was quiet, but for the hour a clock may skip
        at = now + (allowed - timedelta(hours=1) - now) * part / 12
        assert at < now or quiet.contains(at.astimezone(zone).time())


@pytest.mark.parametrize("text", ["late", "25:00-08:00", "21-8", "21:00"])
def test_invalid_quiet_hours_are_rejected(text):
    with pytest.raises(ValueError, match="write them like"):
        parse_quiet_hours(text)


def test_missing_quiet_hours_and_unknown_zones():
    assert parse_quiet_hours("") is parse_quiet_hours("08:00-08:00") is None
    assert customer_zone("Asia/Tokyo", LONDON) == ZoneInfo("Asia/Tokyo")
    for unknown in (None, "", "Mars/Base", "../etc/passwd", "Europe", "\x00"):
        assert customer_zone(unknown, LONDON) is LONDON
