"""Test that each slot of a schedule runs once."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle import decisions
from retention.db.tables import Campaign, Job, Outbox, Schedule, Slot
from retention.errors import BadInput
from tests import world
from tests.retention.reports.samples import add_campaign
from tests.workers.harness import ADMIN, ANALYST, CHANNEL, counted, grant
from tests.workers.queue.test_jobs import together
from tests.world import read, scalars
from workers.campaigns import due_steps
from workers.job_requests import Digest, Sweep
from workers.schedule import tick
from workers.schedule.cadence import Cadence

MONDAY = datetime(2017, 10, 2, 8, 0, tzinfo=UTC)
ZONES = (
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
    "UTC",
)


@pytest.fixture
def weekly(database) -> Schedule:
    """Mondays at nine in London: 08:00 UTC in summer."""
    clock.configure(fixed=MONDAY - timedelta(days=1))
    return add(database)


def add(
    database, request=None, at="09:00", timezone="Europe/London", channel=CHANNEL, by=ADMIN
) -> Schedule:
    with database.transaction() as session:
        cadence = Cadence(at, weekday=0)
        return tick.add(session, request or Digest(), cadence, timezone, channel=channel, by=by)


def states(database) -> list[tuple[date, str]]:
    return [(slot.slot, slot.state) for slot in scalars(database, select(Slot).order_by(Slot.slot))]


@given(
    zone=st.sampled_from(ZONES),
    weekday=st.integers(0, 6),
    minutes=st.integers(0, 1439),
    start=st.datetimes(datetime(2015, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC)),
)
def test_weekly_slots_follow_the_local_day(zone, weekday, minutes, start):
    at = f"{minutes // 60:02d}:{minutes % 60:02d}"
    created = Schedule(weekday=weekday, at=at, timezone=zone, created_at=start, last_slot=None)
    end = start + timedelta(days=371)
    result = list(takewhile(lambda pair: pair[1] <= end, tick.slots(created)))
    assert 52 <= len(result) <= 54
    assert all(later[0] - earlier[0] == timedelta(days=7) for earlier, later in pairwise(result))
    moments = [moment for _, moment in result]
    assert moments == sorted(set(moments))
    for day, moment in result:
        local = moment.astimezone(ZoneInfo(zone))
        gap = local.replace(tzinfo=None) - datetime.combine(day, time.fromisoformat(at))
        # Moved only where that time does not exist (Samoa lost a day).
        assert timedelta() <= gap <= timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "hour"),
    [(date(2026, 10, 25), 0), (date(2026, 3, 29), 1)],
    ids=["the first of two equal times", "a missing time moves by the gap"],
)
def test_slot_has_one_time_when_clocks_change(day, hour):
    expected = datetime.combine(day, time(hour, 30), UTC)
    assert tick.due_at(day, "01:30", "Europe/London") == expected


def test_slot_fires_once_at_its_time(database, weekly):
    clock.configure(fixed=MONDAY - timedelta(seconds=1))
    assert tick.tick(database) == []
    clock.configure(fixed=MONDAY)
    (job_id,) = tick.tick(database)
    assert tick.tick(database) == []
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert (job.kind, job.channel, job.requested_by) == ("digest", CHANNEL, ADMIN)
    assert counted(database, Outbox) == 0  # the digest notifies, no bar before it


def test_racing_ticks_make_one_run(database, weekly):
    clock.configure(fixed=MONDAY)
    answers = together(6, lambda _: tick.tick(database))
    assert sum(len(answer) for answer in answers) == 1
    assert len(states(database)) == 1


@pytest.mark.parametrize(
    ("late", "slots"),
    [
        (timedelta(days=14, hours=11), ["skipped", "skipped", "fired"]),
        (timedelta(hours=13), ["skipped"]),
    ],
)
def test_only_the_newest_slot_runs_after_downtime_of_twelve_hours(database, weekly, late, slots):
    clock.configure(fixed=MONDAY + late)
    assert len(tick.tick(database)) == slots.count("fired")
    assert [state for _, state in states(database)] == slots


def test_next_due_skips_no_moment(database, weekly):
    now, fired = MONDAY - timedelta(days=1), 0
    while True:
        moment = read(database, tick.next_due, now)
        if moment > MONDAY + timedelta(days=60):
            break
        now = moment
        clock.configure(fixed=now)
        fired += len(tick.tick(database))
    assert fired == len(states(database)) == 9
    assert {state for _, state in states(database)} == {"fired"}


def test_next_due_includes_campaigns(database):
    times = {"clears_at": MONDAY, "window_ends_at": MONDAY + timedelta(days=28)}
    add_campaign(database, "c", name="c", state="approved", **times)
    assert read(database, tick.next_due, MONDAY - timedelta(hours=1)) == MONDAY
    assert read(database, tick.next_due, MONDAY) is None


def test_failing_schedule_is_reported_once_and_stops_no_other(database, weekly):
    add(database, Sweep(), channel="C0OTHER")
    with database.transaction() as session:
        session.get_one(Schedule, weekly.id).args = {"of": "another version"}
    clock.configure(fixed=MONDAY + timedelta(minutes=1))
    fired = [tick.tick(database) for _ in range(2)]
    with database.reading() as session:
        assert [session.get_one(Job, job_id).kind for job_id in fired[0]] == ["sweep"]
        (shown,) = session.scalars(select(Outbox))
    assert (fired[1], shown.channel, shown.revision) == ([], CHANNEL, 1)
    assert "It is tried again by itself" in str(shown.payload["blocks"])


def test_failing_campaign_is_reported_in_its_thread(database, monkeypatch):
    """Nobody decided on either in time; one is broken."""
    clock.configure(fixed=MONDAY)
    for name in ("broken", "sound"):
        place = {"channel": CHANNEL, "post_key": f"post:{name}"}
        expires_at = MONDAY - timedelta(hours=1)
        add_campaign(database, name, name=name, state="submitted", expires_at=expires_at, **place)
    expire = decisions.expire

    def breaks(session, campaign_id, now):
        expired = expire(session, campaign_id, now)
        if campaign_id == "broken":
            raise ValueError(campaign_id)
        return expired

    monkeypatch.setattr(decisions, "expire", breaks)
    monkeypatch.setattr(due_steps, "show_change", lambda *_: None)
    tick.tick(database)
    with database.reading() as session:
        assert session.get_one(Campaign, "sound").state == "expired"
        assert session.get_one(Campaign, "broken").state == "submitted"
        assert session.scalars(select(Outbox.thread_key)).all() == ["post:broken"]


def test_schedule_of_a_demoted_person_is_skipped(database, settings):
    clock.configure(fixed=MONDAY - timedelta(days=1))
    world.add(database, grant(settings, ANALYST, "viewer"))
    add(database, Sweep(), by=ANALYST)
    clock.configure(fixed=MONDAY)
    assert tick.tick(database) == []
    assert [state for _, state in states(database)] == ["skipped"]


@pytest.mark.parametrize(
    ("changes", "named"), [({"at": "9"}, "'9'"), ({"timezone": "Mars/Base"}, "'Mars/Base'")]
)
def test_invalid_schedules_are_refused(database, changes, named):
    with pytest.raises(BadInput, match=named):
        add(database, **changes)
