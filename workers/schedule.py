"""What happens each week (or day) at a local time: a table and a tick.

A slot is a local date; it is due at the schedule's local time in its own IANA zone (the first of two where a clock
is set back, and shifted by the gap where it is set forward). One transaction takes the slot and stores its job, and
slots are unique, so that any number of ticks makes one run.
"""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns import due
from retention.db import Database
from retention.db.insert import insert_once
from retention.db.tables import Job, Schedule, Slot
from retention.errors import BadInput, Refused
from retention.settings import Settings
from retention.text import gettext
from workers import jobs, monitoring, roles
from workers.delivery import outbox
from workers.failure_isolation import apart
from workers.requests import REQUESTS

log = logging.getLogger(__name__)

LATE = timedelta(hours=12)  # a slot missed by more than this is not made up for


def add(
    session: Session,
    settings: Settings,
    kind: str,
    args: dict[str, Any],
    weekday: int | None,
    at: str,
    timezone: str,
    channel: str | None,
    created_by: str,
) -> Schedule:
    """Store a schedule; its first slot is the next one that comes.

    Parameters
    ----------
    kind, args : str, dict
        A request, as `workers.requests` knows it.
    weekday : int or None
        0 Monday … 6 Sunday; None for every day.
    at, timezone : str
        Local time ``HH:MM`` and its IANA zone.

    Raises
    ------
    BadInput
        For a value that cannot be used.
    """
    if kind not in REQUESTS:
        raise BadInput(
            gettext("{kind!r} cannot be scheduled; use one of {REQUESTS}").format(
                kind=kind, REQUESTS=", ".join(sorted(REQUESTS))
            )
        )
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at):
        raise BadInput(gettext("{at!r} is not a time of day; write it like 09:00").format(at=at))
    if timezone not in available_timezones():
        raise BadInput(
            gettext("{timezone!r} is no IANA time zone; try e.g. Europe/London").format(
                timezone=timezone
            )
        )
    if weekday is not None and weekday not in range(7):
        raise BadInput(
            gettext("weekday is {weekday}; use 0 (Monday) to 6 (Sunday)").format(weekday=weekday)
        )
    try:
        REQUESTS[kind].model_validate(args)
    except ValidationError as error:
        raise BadInput(
            gettext("These are no arguments for {kind}: {msg}").format(
                kind=kind, msg=error.errors()[0]["msg"]
            )
        ) from None
    schedule = Schedule(
        team_id=settings.team_id,
        kind=kind,
        args=args,
        weekday=weekday,
        at=at,
        timezone=timezone,
        channel=channel,
        created_by=created_by,
        created_at=clock.now(),
    )
    session.add(schedule)
    session.flush()
    return schedule


def due_at(slot: date, at: str, timezone: str) -> datetime:
    """The moment (UTC) at which a local date's slot is due."""
    return datetime.combine(slot, time.fromisoformat(at), ZoneInfo(timezone)).astimezone(UTC)


def slots(schedule: Schedule) -> Iterator[tuple[date, datetime]]:
    """The schedule's untaken slots with their moments, in order, without end."""
    day = schedule.created_at.astimezone(ZoneInfo(schedule.timezone)).date()
    if schedule.last_slot is not None:
        day = max(day, schedule.last_slot + timedelta(days=1))
    while True:
        if schedule.weekday is None or day.weekday() == schedule.weekday:
            at = due_at(day, schedule.at, schedule.timezone)
            if at > schedule.created_at:
                yield day, at
        day += timedelta(days=1)


def tick(database: Database, settings: Settings) -> list[str]:
    """Fire everything that is due by business time: schedules, the due moments of campaigns, a look at the model.

    Each is on its own: one that fails stops no other.

    Returns
    -------
    list of str
        Ids of the jobs that were submitted, and published to the workers.
    """
    submitted: list[Job] = []
    with database.reading() as session:
        active = session.scalars(
            select(Schedule.id).where(Schedule.team_id == settings.team_id, Schedule.active)
        ).all()
    for schedule_id in active:
        with database.transaction() as session:
            due_now = session.get_one(Schedule, schedule_id)
            with apart(session, settings, f"schedule:{schedule_id}", channel=due_now.channel):
                submitted += _fire(session, settings, due_now, clock.now())
    submitted += _campaigns(database, settings)
    submitted += _monitor(database, settings)
    for job in submitted:
        jobs.wake(settings, job)
    return [job.id for job in submitted]


def next_due(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """The first moment later than ``after`` at which something falls due: a schedule, a step of a campaign, a look at the model."""
    moments = [
        next(at for _, at in slots(schedule) if at > after)
        for schedule in session.scalars(
            select(Schedule).where(Schedule.team_id == settings.team_id, Schedule.active)
        )
    ]
    campaigns = due.next_moment(session, settings, after)
    looked = monitoring.next_moment(session, settings, after)
    moments += [moment for moment in (campaigns, looked) if moment is not None]
    return min(moments, default=None)


def idle(session: Session) -> bool:
    """Whether no job is queued or running, and Slack shows everything it should."""
    busy = session.scalar(select(func.count()).select_from(Job).where(Job.state.in_(jobs.OPEN)))
    return not busy and not session.scalar(outbox.undelivered())


def _fire(session: Session, settings: Settings, schedule: Schedule, now: datetime) -> list[Job]:
    """Take the slots that are due: the newest one runs, older and too late ones are marked as skipped."""
    ripe = []
    for slot, at in slots(schedule):
        if at > now:
            break
        ripe.append((slot, at))
    submitted: list[Job] = []
    for number, (slot, at) in enumerate(ripe):
        fires = number == len(ripe) - 1 and now - at < LATE
        mine = insert_once(
            session,
            Slot,
            team_id=settings.team_id,
            schedule_id=schedule.id,
            slot=slot,
            due_at=at,
            state="fired" if fires else "skipped",
        )
        if mine and fires:
            submitted += _submit(session, settings, schedule, slot)
        elif mine:
            log.warning(
                "schedule %s (%s): the slot of %s was missed and is skipped",
                schedule.id,
                schedule.kind,
                slot,
            )
    if ripe:
        schedule.last_slot = ripe[-1][0]
    return submitted


def _submit(session: Session, settings: Settings, schedule: Schedule, slot: date) -> list[Job]:
    taken = session.scalars(
        select(Slot).where(Slot.schedule_id == schedule.id, Slot.slot == slot)
    ).one()
    try:
        submission = jobs.submit(
            session,
            settings,
            REQUESTS[schedule.kind].model_validate(schedule.args),
            requested_by=schedule.created_by,
            channel=schedule.channel,
            idem_key=f"schedule:{schedule.id}:{slot}",
            announce=False,
            limited=False,
        )
    except Refused as refusal:  # whoever made it may no longer do this
        log.warning("schedule %s (%s) of %s: %s", schedule.id, schedule.kind, slot, refusal)
        taken.state = "skipped"
        return []
    taken.job_id = submission.job.id
    return [submission.job] if submission.created else []


def _campaigns(database: Database, settings: Settings) -> list[Job]:
    """Let campaigns take the steps that are due: expire, remind, schedule, send, measure."""
    from workers import campaigns  # it imports jobs, as we do

    now = clock.now()
    submitted: list[Job] = []
    with database.transaction() as session:
        campaigns.expire(session, settings, now)
        campaigns.remind(session, settings, now)
        campaigns.schedule(session, settings, now)
        campaigns.report_misuse(session, settings, now)
        campaigns.report_late(session, settings)
        for request, idem_key, requested_by, channel, thread_key in campaigns.requests(
            session, settings, now
        ):
            with apart(session, settings, thread_key, channel=channel, thread_key=thread_key):
                submission = jobs.submit(
                    session,
                    settings,
                    request,
                    requested_by=requested_by,
                    channel=channel,
                    idem_key=idem_key,
                    thread_key=thread_key,
                    announce=False,
                    limited=False,
                )
                if submission.created or _again(session, settings, submission.job):
                    submitted.append(submission.job)
    return submitted


def _again(session: Session, settings: Settings, job: Job) -> bool:
    """Whether a campaign that could not be sent is tried anew: what kept it from that may have been mended since."""
    wall = clock.wall()
    over = job.state == "failed" and (job.finished_at or wall) <= wall - due.MAX_PAUSE
    return (
        over and job.kind == "campaign_send" and jobs.requeue(session, settings, job, limited=False)
    )


def _monitor(database: Database, settings: Settings) -> list[Job]:
    """The weekly look at the model in use."""
    with database.transaction() as session, apart(session, settings, "monitor", channel=None):
        due_now = monitoring.due(session, settings, clock.now())
        if due_now is None:
            return []
        request, idem_key, channel = due_now
        submission = jobs.submit(
            session,
            settings,
            request,
            requested_by=roles.OPERATOR,
            channel=channel,
            idem_key=idem_key,
            announce=False,
            limited=False,
        )
        return [submission.job] if submission.created else []
    return []
