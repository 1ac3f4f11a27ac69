"""Clocks change, leap days come, the clock is set back an hour, and the tick is down for hours.

Schedules in many zones fire through years that have all of it. Two ticks run at each moment. Lost:
a slot that did not fire, or fired at another local time. Doubled: a slot with two jobs.
"""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select

from retention import clock
from retention.db import Database
from retention.db.tables import Job, Schedule, Slot
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.workers.harness import ADMIN
from tests.world import change, execute, one, rows
from workers.job_requests import Digest
from workers.queue import jobs
from workers.schedule import tick
from workers.schedule.cadence import Cadence
from workers.typed_times import due_at

ZONES = (
    "Europe/London",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",  # half an hour
    "Africa/Casablanca",  # around Ramadan
    "Asia/Kolkata",
    "Pacific/Auckland",
)
LEAP_DAY = datetime(2028, 2, 29, tzinfo=UTC)
MOMENTS = "change of the clocks", "leap day", "clock set back", "tick is down"
HOUR = timedelta(hours=1)
DAYS = 3  # around the moment


def count_row(injections: int, seed: int) -> Counts:
    """Let so many schedules live through a moment, and count their slots."""
    chance, counts = random.Random(seed), Counts()
    jobs.wake = lambda *_: True
    with killed_jobs.installation() as (_, database):
        for number in range(injections):
            kind = MOMENTS[number % len(MOMENTS)]
            zone = chance.choice(ZONES)
            changes = _changes(zone, chance.randint(2026, 2030))
            moment = LEAP_DAY if kind == "leap day" else chance.choice(changes)
            at = f"{chance.randint(0, 4):02}:{chance.choice((0, 15, 30, 45)):02}"
            for table in (Slot, Schedule, Job):
                execute(database, delete(table))
            begin = moment - timedelta(days=1, hours=chance.randint(0, 5))
            clock.configure(fixed=begin)
            schedule = change(
                database, tick.add, Digest(), Cadence(at), zone, channel=None, by=ADMIN
            ).id
            ticks = _times(kind, begin, moment, chance)
            _run(database, zone, ticks)
            counts.inject(hit=begin < moment < ticks[-1])
            _compare(database, counts, schedule, (begin, ticks), f"{kind}, {zone}, {at}")
        clock.configure()
    return counts


@cache
def _changes(zone: str, year: int) -> list[datetime]:
    """Return the moments at which the zone's clocks change; some noon where they never do."""
    local, day = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    hours = [day + hour * HOUR for hour in range(24 * 365)]
    offsets = [hour.astimezone(local).utcoffset() for hour in hours]
    pairs = zip(pairwise(offsets), hours[1:], strict=True)
    return [hour for (before, after), hour in pairs if before != after] or [hours[2412]]


def _times(kind: str, begin: datetime, moment: datetime, chance: random.Random) -> list[datetime]:
    """Return the moments of the ticks: every 20 minutes, unless the fault says otherwise."""
    steps = [begin + number * HOUR / 3 for number in range(1, 24 * 3 * DAYS)]
    if kind == "tick is down":
        hours = chance.randint(1, 11)  # less than the longest delay
        steps = [step for step in steps if not moment <= step < moment + hours * HOUR]
    if kind == "clock set back":
        before = [step for step in steps if step < moment]
        steps = before + [step - HOUR for step in steps if step >= moment]
    return steps


def _run(database: Database, zone: str, ticks: list[datetime]) -> None:
    """Tick twice at each moment of the night; by day, nothing is due, unless the tick was down."""
    for before, now in pairwise([ticks[0], *ticks]):
        if 8 < now.astimezone(ZoneInfo(zone)).hour < 22 and now - before <= HOUR / 3:
            continue
        clock.configure(fixed=now)
        for _ in range(2):
            with database.transaction() as session:
                tick._fire(session, session.scalars(select(Schedule)).one(), clock.now())


def _compare(
    database: Database,
    counts: Counts,
    schedule_id: int,
    span: tuple[datetime, list[datetime]],
    what: str,
) -> None:
    schedule = one(database, select(Schedule).where(Schedule.id == schedule_id))
    begin, ticks = span
    expected = {}
    day = begin.astimezone(ZoneInfo(schedule.timezone)).date()
    for number in range(DAYS + 2):
        slot = day + timedelta(days=number)
        at = due_at(slot, schedule.at, schedule.timezone)
        if begin < at <= max(ticks):
            expected[slot] = at
    slots = {slot.slot: slot for (slot,) in rows(database, select(Slot))}
    stored = Counter(key.rpartition(":")[2] for (key,) in rows(database, select(Job.idem_key)))
    for slot, at in expected.items():
        name = f"{what}: slot of {slot}"
        counts.expect_once(stored[str(slot)], name)
        counts.expect(slot in slots and slots[slot].state == "fired", f"{name} did not fire")
        local = at.astimezone(ZoneInfo(schedule.timezone))
        is_right = f"{local:%H:%M}" == schedule.at
        naive = datetime.combine(slot, datetime.strptime(schedule.at, "%H:%M").time())
        exists = _exists(naive, schedule.timezone)
        counts.expect(is_right or not exists, f"{name} is due at {local:%H:%M}")
    extra = {*slots} - {*expected}
    counts.doubled += [f"{what}: slot of {slot} is none" for slot in sorted(extra)]


def _exists(naive: datetime, zone: str) -> bool:
    there = naive.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).astimezone(ZoneInfo(zone))
    return there.replace(tzinfo=None) == naive
