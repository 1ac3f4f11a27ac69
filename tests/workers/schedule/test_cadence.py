"""Test when schedules run, and pausing them."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from retention import clock
from retention.db import audit_chain
from retention.db.tables import Audit, Outbox, Schedule
from retention.errors import BadInput
from tests.workers.harness import ADMIN, CHANNEL
from tests.world import change, read, scalars
from workers.job_requests import Digest
from workers.schedule import schedule_changes, tick
from workers.schedule.cadence import LAST_WORKING_DAY, Cadence, parse_every
from workers.typed_times import next_local_time

START = datetime(2017, 10, 2, 12, 0, tzinfo=UTC)  # a Monday
times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
cadences = st.one_of(
    st.builds(Cadence, times),
    st.builds(Cadence, times, st.integers(0, 6)),
    st.builds(Cadence, times, st.none(), st.integers(1, 31) | st.just(LAST_WORKING_DAY)),
)


@given(cadences)
def test_printed_cadence_parses_to_the_same(cadence):
    assert parse_every(str(cadence)) == cadence


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("every monday at 9:00", "mon 09:00"),
        ("Mondays 9.30", "mon 09:30"),
        ("day 08:00", "daily 08:00"),
        ("monthly 15 07:00", "15th 07:00"),
        ("the last working day 17:00", "last-working-day 17:00"),
        ("2nd 09:00", "2nd 09:00"),
    ],
)
def test_cadence_can_be_typed_in_several_ways(typed, meant):
    assert str(parse_every(typed)) == meant


@pytest.mark.parametrize("typed", ["", "mon", "mon 25:00", "32nd 09:00", "mno 09:00", "1st"])
def test_unusable_cadence_is_refused_with_examples(typed):
    with pytest.raises(BadInput, match=r"--every is .*(Examples|Did you mean)"):
        parse_every(typed)


@given(cadences, st.dates(date(2017, 1, 1), date(2030, 1, 1)))
def test_monthly_cadence_has_one_day_in_each_month(cadence, start):
    first = start.replace(day=1)
    days = [first + timedelta(days=number) for number in range(31)]
    month = [day for day in days if day.month == first.month and cadence.includes(day)]
    if cadence.monthday is None:
        assert len(month) in ((4, 5) if cadence.weekday is not None else (28, 29, 30, 31))
    else:
        (day,) = month
        if cadence.monthday == LAST_WORKING_DAY:
            assert day.weekday() < 5
            assert all(
                later.weekday() > 4 for later in days if later > day and later.month == day.month
            )


def added(database, cadence: Cadence) -> Schedule:
    clock.configure(fixed=START)
    return change(database, tick.add, Digest(), cadence, "UTC", channel=CHANNEL, by=ADMIN)


@pytest.mark.parametrize(
    ("typed", "days"),
    [
        ("31st 09:00", ["2017-10-31", "2017-11-30", "2017-12-31", "2018-01-31", "2018-02-28"]),
        ("last working day 09:00", ["2017-10-31", "2017-11-30", "2017-12-29"]),
    ],
)
def test_monthly_slots_fit_short_months_and_weekends(database, typed, days):
    row = added(database, parse_every(typed))
    assert [day.isoformat() for day, _ in islice(tick.slots(row), len(days))] == days


def test_paused_schedule_runs_nothing_and_resumes_with_its_next_slot(database):
    row = added(database, parse_every("daily 09:00"))
    change(database, schedule_changes.pause, row.id, ADMIN)
    clock.configure(fixed=START + timedelta(days=2))
    assert tick.tick(database) == []
    with database.transaction() as session:
        assert tick.next_due(session, clock.now()) is None
        (listed,) = schedule_changes.summaries(session)
        assert (listed["paused"], listed["next"]) == (True, [])
        schedule_changes.resume(session, row.id, ADMIN)
    assert tick.tick(database) == []  # the slots of the pause never run
    clock.configure(fixed=START + timedelta(days=2, hours=21))
    assert len(tick.tick(database)) == 1


def test_summary_has_the_next_three_runs_of_old_digests_too(database):
    row = added(database, Cadence("09:00", weekday=0))
    (listed,) = read(database, schedule_changes.summaries)
    assert listed["command"] == "digest"
    assert [at[:10] for at in listed["next"]] == ["2017-10-09", "2017-10-16", "2017-10-23"]
    assert listed["number"] == row.id


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2025-07-21T01:59:59+00:00", "2025-07-21T02:00:00+00:00"),
        ("2025-07-21T02:00:00+00:00", "2025-07-22T02:00:00+00:00"),
        ("2025-03-29T12:00:00+00:00", "2025-03-30T02:00:00+00:00"),  # the clock goes forward
        ("2025-10-25T12:00:00+00:00", "2025-10-26T03:00:00+00:00"),  # and back
    ],
)
def test_next_local_time_follows_the_clock(after, expected):
    found = next_local_time(time(3), ZoneInfo("Europe/London"), datetime.fromisoformat(after))
    assert found.isoformat() == expected


def test_head_of_the_audit_log_is_kept_and_posted_once_a_day(database, settings):
    added(database, parse_every("daily 09:00"))
    with_channel = database.using(settings.model_copy(update={"admin_channel": "C0ADMIN"}))
    for database_of_tick in (database, with_channel, with_channel):
        tick.tick(database_of_tick)
    heads = [row for row in scalars(database, select(Outbox)) if row.channel == "C0ADMIN"]
    assert len(heads) == 1
    with database.reading() as session:
        assert audit_chain.head(session) in str(heads[0].payload)
    clock.configure(fixed=START + timedelta(days=1))
    tick.tick(with_channel)
    heads = [row for row in scalars(database, select(Outbox)) if row.channel == "C0ADMIN"]
    assert len(heads) == 2
    assert len((settings.home / audit_chain.HEADS).read_text().split()) == 4  # two days, two heads


def test_daily_head_counts_the_faults_of_the_audit_log(database, settings):
    added(database, parse_every("daily 09:00"))
    with database.transaction() as session:
        session.add(Audit(team_id="T", actor="U", action="a.b", subject="s", details={}))
    tick.tick(database.using(settings.model_copy(update={"admin_channel": "C0ADMIN"})))
    (head,) = [row for row in scalars(database, select(Outbox)) if row.channel == "C0ADMIN"]
    assert "audit verify` names" in str(head.payload)
