"""Test that each slot of a schedule runs once."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from retention import clock
from retention.campaigns import approval
from retention.db.tables import Campaign, Job, Outbox, RoleGrant, Schedule, Slot
from retention.errors import BadInput
from tests.workers.harness import ADMIN, ANALYST, CHANNEL, ask, set_job
from tests.workers.test_jobs import together
from workers import campaign_clock, schedule
from workers.requests import Sweep

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
def weekly(database, settings) -> Schedule:
    """Mondays at nine in London: 08:00 UTC in summer."""
    clock.configure(fixed=MONDAY - timedelta(days=1))
    return add(database, settings)


def add(database, settings, **changes) -> Schedule:
    created = {
        "kind": "digest",
        "args": {},
        "weekday": 0,
        "at": "09:00",
        "timezone": "Europe/London",
        "channel": CHANNEL,
        "created_by": ADMIN,
    } | changes
    with database.transaction() as session:
        return schedule.add(session, settings, **created)


def states(database) -> list[tuple[date, str]]:
    with database.reading() as session:
        return [
            (slot.slot, slot.state) for slot in session.scalars(select(Slot).order_by(Slot.slot))
        ]


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
    result = list(takewhile(lambda pair: pair[1] <= end, schedule.slots(created)))
    assert 52 <= len(result) <= 54
    assert all(later[0] - earlier[0] == timedelta(days=7) for earlier, later in pairwise(result))
    moments = [moment for _, moment in result]
    assert moments == sorted(set(moments))
    for day, moment in result:
        local = moment.astimezone(ZoneInfo(zone))
        gap = local.replace(tzinfo=None) - datetime.combine(
            day, datetime.strptime(at, "%H:%M").time()
        )
        assert (
            timedelta() <= gap <= timedelta(days=1)
        )  # moved only where that time does not exist (Samoa lost a day)


def test_first_of_two_equal_local_times_is_used():
    assert schedule.due_at(date(2026, 10, 25), "01:30", "Europe/London") == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )


def test_missing_local_time_moves_by_the_gap():
    assert schedule.due_at(date(2026, 3, 29), "01:30", "Europe/London") == datetime(
        2026, 3, 29, 1, 30, tzinfo=UTC
    )


def test_slot_fires_once_at_its_time(database, settings, weekly):
    clock.configure(fixed=MONDAY - timedelta(seconds=1))
    assert schedule.tick(database, settings) == []
    clock.configure(fixed=MONDAY)
    (job_id,) = schedule.tick(database, settings)
    assert schedule.tick(database, settings) == []
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert (job.kind, job.channel, job.requested_by) == ("digest", CHANNEL, ADMIN)
        assert (
            session.scalar(select(func.count()).select_from(Outbox)) == 0
        )  # the digest notifies, no bar before it


def test_racing_ticks_make_one_run(database, settings, weekly):
    clock.configure(fixed=MONDAY)
    answers = together(6, lambda _: schedule.tick(database, settings))
    assert sum(len(answer) for answer in answers) == 1
    assert len(states(database)) == 1


def test_only_the_newest_slot_runs_after_downtime(database, settings, weekly):
    clock.configure(fixed=MONDAY + timedelta(days=14, hours=11))
    assert len(schedule.tick(database, settings)) == 1
    assert [state for _, state in states(database)] == ["skipped", "skipped", "fired"]


def test_a_slot_missed_by_more_than_twelve_hours_is_skipped(database, settings, weekly):
    clock.configure(fixed=MONDAY + timedelta(hours=13))
    assert schedule.tick(database, settings) == []
    assert [state for _, state in states(database)] == ["skipped"]


def test_next_due_skips_no_moment(database, settings, weekly):
    now, fired = MONDAY - timedelta(days=1), 0
    while True:
        with database.reading() as session:
            moment = schedule.next_due(session, settings, now)
        if moment > MONDAY + timedelta(days=60):
            break
        now = moment
        clock.configure(fixed=now)
        fired += len(schedule.tick(database, settings))
    assert fired == len(states(database)) == 9
    assert {state for _, state in states(database)} == {"fired"}


def test_next_due_includes_campaigns(database, settings):
    with database.transaction() as session:
        session.add(
            Campaign(
                id="c",
                name="c",
                state="approved",
                post_key="campaign:c",
                body={},
                salt="s",
                drafted_by=ANALYST,
                clears_at=MONDAY,
                window_ends_at=MONDAY + timedelta(days=28),
            )
        )
    with database.reading() as session:
        assert schedule.next_due(session, settings, MONDAY - timedelta(hours=1)) == MONDAY
        assert schedule.next_due(session, settings, MONDAY) is None


def test_failing_schedule_is_reported_once_and_stops_no_other(database, settings, weekly):
    add(database, settings, kind="sweep", channel="C0OTHER")
    with database.transaction() as session:
        session.get_one(Schedule, weekly.id).args = {"of": "another version"}
    clock.configure(fixed=MONDAY + timedelta(minutes=1))
    fired = [schedule.tick(database, settings) for _ in range(2)]
    with database.reading() as session:
        assert [session.get_one(Job, job_id).kind for job_id in fired[0]] == ["sweep"]
        (shown,) = session.scalars(select(Outbox))
    assert (fired[1], shown.channel, shown.revision) == ([], CHANNEL, 1)
    assert "It is tried again by itself" in str(shown.payload["blocks"])


def test_failing_campaign_is_reported_in_its_thread(database, settings, monkeypatch):
    """Nobody decided on either in time; one is broken."""
    clock.configure(fixed=MONDAY)
    with database.transaction() as session:
        for name in ("broken", "sound"):
            session.add(
                Campaign(
                    id=name,
                    name=name,
                    state="submitted",
                    channel=CHANNEL,
                    post_key=f"post:{name}",
                    body={},
                    salt="s",
                    drafted_by=ANALYST,
                    expires_at=MONDAY - timedelta(hours=1),
                )
            )
    expire = approval.expire

    def breaks(session, settings, campaign_id, now):
        expired = expire(session, settings, campaign_id, now)
        if campaign_id == "broken":
            raise ValueError(campaign_id)
        return expired

    monkeypatch.setattr(approval, "expire", breaks)
    monkeypatch.setattr(campaign_clock, "show_change", lambda *_: None)
    schedule.tick(database, settings)
    with database.reading() as session:
        assert session.get_one(Campaign, "sound").state == "expired"
        assert session.get_one(Campaign, "broken").state == "submitted"
        assert session.scalars(select(Outbox.thread_key)).all() == ["post:broken"]


def test_schedule_of_a_demoted_person_is_skipped(database, settings):
    clock.configure(fixed=MONDAY - timedelta(days=1))
    with database.transaction() as session:
        session.add(
            RoleGrant(team_id=settings.team_id, user_id=ANALYST, role="viewer", granted_by=ADMIN)
        )
    add(database, settings, kind="sweep", created_by=ANALYST)
    clock.configure(fixed=MONDAY)
    assert schedule.tick(database, settings) == []
    assert [state for _, state in states(database)] == ["skipped"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kind": "lottery"}, "'lottery'"),
        ({"at": "9"}, "'9'"),
        ({"timezone": "Mars/Base"}, "'Mars/Base'"),
        ({"weekday": 7}, "weekday is 7"),
        ({"kind": "sweep", "args": {"top": 0}}, "sweep"),
    ],
)
def test_invalid_schedules_are_refused(database, settings, changes, named):
    with pytest.raises(BadInput, match=named):
        add(database, settings, **changes)


def test_idle_means_no_job_and_no_message_waits(database, settings):
    with database.reading() as session:
        assert schedule.is_idle(session)
    queued_job = ask(database, settings, Sweep(), "k")
    with database.reading() as session:
        assert not schedule.is_idle(session)
    set_job(database, queued_job.id, state="done")
    with database.reading() as session:
        assert not schedule.is_idle(session)  # its message is not out yet
    with database.transaction() as session:
        session.scalars(select(Outbox)).one().state = "sent"
    with database.reading() as session:
        assert schedule.is_idle(session)
