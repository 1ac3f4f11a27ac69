"""Submit due work: schedules, campaign steps and model checks.

A slot is a local date. It is due at the schedule's local time in its own IANA zone. When a clock is
set back, the first of two equal times counts. When it is set forward, the time moves by the gap.
One transaction takes the slot and stores its job. Slots are unique, so any number of ticks makes
one run.
"""

import logging
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns import due
from retention.connect import profile_deletion
from retention.connect import senders as live_senders
from retention.connect import sources as stored_sources
from retention.db import Database
from retention.db.insert import insert_once
from retention.db.tables import Job, ModelVersion, Schedule, Slot, Source
from retention.errors import BadInput, Refused
from retention.registry import champion
from retention.settings import Settings
from retention.text import gettext
from workers import alerts, jobs, publishing, roles, senders, shop_checks, sources
from workers.cadence import Cadence
from workers.completion import isolated
from workers.delivery import outbox
from workers.requests import (
    REQUESTS,
    DeleteProfile,
    Monitor,
    PlatformSync,
    PublishProfiles,
    Request,
    ShopReconcile,
)
from workers.times import due_at

log = logging.getLogger(__name__)

MODEL_CHECK_EVERY = timedelta(days=7)
MAX_DELAY = timedelta(hours=12)  # later slots are skipped


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
    *,
    monthday: int | None = None,
    command: str | None = None,
) -> Schedule:
    """Store a schedule that starts with the next slot.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    kind : str
        Kind of the request, see `workers.requests`.
    args : dict
        Arguments of the request.
    weekday : int or None
        0 (Monday) to 6 (Sunday). None for every day.
    at : str
        Local time ``HH:MM``.
    timezone : str
        IANA zone.
    channel : str or None
        Destination of the results.
    created_by : str
        Slack user id, or `roles.OPERATOR`.
    monthday : int, optional
        1 to 31 for a monthly schedule, or `cadence.LAST_WORKING_DAY`.
    command : str, optional
        The command as it was typed.

    Returns
    -------
    Schedule
        The stored schedule.

    Raises
    ------
    BadInput
        A value is not usable.
    """
    if kind not in REQUESTS:
        raise BadInput(
            gettext("{kind!r} cannot be scheduled; use one of {kinds}").format(
                kind=kind, kinds=", ".join(sorted(REQUESTS))
            )
        )
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at):
        raise BadInput(gettext("{at!r} is not a time of day; write it like 09:00").format(at=at))
    if timezone not in clock.time_zones():
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
            gettext("These are no arguments for {kind}: {reason}").format(
                kind=kind, reason=error.errors()[0]["msg"]
            )
        ) from None
    schedule = Schedule(
        team_id=settings.team_id,
        kind=kind,
        args=args,
        weekday=weekday,
        monthday=monthday,
        command=command,
        at=at,
        timezone=timezone,
        channel=channel,
        created_by=created_by,
        created_at=clock.now(),
    )
    session.add(schedule)
    session.flush()
    return schedule


def cadence_of(schedule: Schedule) -> Cadence:
    """Return the days and the time of a schedule."""
    return Cadence(schedule.at, schedule.weekday, schedule.monthday)


def slots(schedule: Schedule) -> Iterator[tuple[date, datetime]]:
    """Yield a schedule's open slots, without end."""
    day = schedule.created_at.astimezone(ZoneInfo(schedule.timezone)).date()
    if schedule.last_slot is not None:
        day = max(day, schedule.last_slot + timedelta(days=1))
    cadence = cadence_of(schedule)
    while True:
        if cadence.includes(day):
            at = due_at(day, schedule.at, schedule.timezone)
            if at > schedule.created_at:
                yield day, at
        day += timedelta(days=1)


def tick(database: Database, settings: Settings) -> list[str]:
    """Submit everything that is due by business time.

    These are schedules, campaign steps and model checks. One that fails stops no other.

    Parameters
    ----------
    database : Database
        The database.
    settings : Settings
        Of the installation.

    Returns
    -------
    list of str
        Ids of the submitted and published jobs.
    """
    submitted: list[Job] = []
    with database.reading() as session:
        active = session.scalars(select(Schedule.id).where(*_runs(settings))).all()
    for schedule_id in active:
        with database.transaction() as session:
            due_now = session.get_one(Schedule, schedule_id)
            with isolated(session, settings, f"schedule:{schedule_id}", channel=due_now.channel):
                submitted += _fire(session, settings, due_now, clock.now())
    submitted += _campaigns(database, settings)
    submitted += _monitor(database, settings)
    submitted += _check_alerts(database, settings)
    submitted += _check_shops(database, settings)
    _check_senders(database, settings)
    submitted += _pull_sources(database, settings)
    submitted += _publish_profiles(database, settings)
    submitted += _sync_platforms(database, settings)
    submitted += _delete_profiles(database, settings)
    for job in submitted:
        jobs.wake(settings, job)
    return [job.id for job in submitted]


def next_due(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """Return the next time at which something is due that needs the data of that time.

    Not the nightly checks of shops: a tick after several nights makes one. The demo's clock would
    import the orders of each night for them.
    """
    moments = [
        next(at for _, at in slots(schedule) if at > after)
        for schedule in session.scalars(select(Schedule).where(*_runs(settings)))
    ]
    campaigns = due.next_moment(session, settings, after)
    model_check = next_model_check(session, settings, after)
    alert_check = alerts.next_check(session, settings, after)
    pull = stored_sources.next_due(session, settings, after)
    published = publishing.next_moment(session, settings, after)
    silence = live_senders.next_check(session, settings, after)
    due_then = (campaigns, model_check, alert_check, pull, published, silence)
    moments += [moment for moment in due_then if moment is not None]
    return min(moments, default=None)


def _runs(settings: Settings) -> tuple[Any, ...]:
    """Return the conditions of schedules that run: neither deleted nor paused."""
    return (
        Schedule.team_id == settings.team_id,
        Schedule.active.is_(True),
        Schedule.paused_at.is_(None),
    )


def is_idle(session: Session) -> bool:
    """Return whether no job or message waits."""
    open_count = session.scalar(
        select(func.count()).select_from(Job).where(Job.state.in_(jobs.OPEN))
    )
    return not open_count and not session.scalar(outbox.undelivered())


def _fire(session: Session, settings: Settings, schedule: Schedule, now: datetime) -> list[Job]:
    """Take the due slots of a schedule.

    The newest one runs. Older and very late ones are marked as skipped.
    """
    due_slots = []
    for slot, at in slots(schedule):
        if at > now:
            break
        due_slots.append((slot, at))
    submitted: list[Job] = []
    for number, (slot, at) in enumerate(due_slots):
        runs = number == len(due_slots) - 1 and now - at < MAX_DELAY
        is_taken = insert_once(
            session,
            Slot,
            team_id=settings.team_id,
            schedule_id=schedule.id,
            slot=slot,
            due_at=at,
            state="fired" if runs else "skipped",
        )
        if is_taken and runs:
            submitted += _submit(session, settings, schedule, slot)
        elif is_taken:
            log.warning(
                "schedule %s (%s): the slot of %s was missed and is skipped",
                schedule.id,
                schedule.kind,
                slot,
            )
    if due_slots:
        schedule.last_slot = due_slots[-1][0]
    return submitted


def _submit(session: Session, settings: Settings, schedule: Schedule, slot: date) -> list[Job]:
    row = session.scalars(
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
    except Refused as refusal:  # its author may have lost the role
        log.warning("schedule %s (%s) of %s: %s", schedule.id, schedule.kind, slot, refusal)
        row.state = "skipped"
        return []
    row.job_id = submission.job.id
    return [submission.job] if submission.created else []


def _campaigns(database: Database, settings: Settings) -> list[Job]:
    """Carry out due steps of campaigns.

    They expire, send reminders, get scheduled, send and measure.
    """
    from workers import campaign_clock

    now = clock.now()
    submitted: list[Job] = []
    with database.transaction() as session:
        campaign_clock.expire(session, settings, now)
        campaign_clock.remind(session, settings, now)
        campaign_clock.schedule(session, settings, now)
        campaign_clock.report_misuse(session, settings, now)
        campaign_clock.report_late(session, settings)
        for request, idem_key, requested_by, channel, thread_key in campaign_clock.due_requests(
            session, settings, now
        ):
            with isolated(session, settings, thread_key, channel=channel, thread_key=thread_key):
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
                if submission.created or _was_requeued(session, settings, submission.job):
                    submitted.append(submission.job)
    return submitted


def _was_requeued(session: Session, settings: Settings, job: Job) -> bool:
    """Return whether a failed sending was queued again.

    Its cause may have been fixed.
    """
    wall = clock.wall()
    over = job.state == "failed" and (job.finished_at or wall) <= wall - due.MAX_PAUSE
    return (
        over and job.kind == "campaign_send" and jobs.requeue(session, settings, job, limited=False)
    )


def _monitor(database: Database, settings: Settings) -> list[Job]:
    """Submit the weekly model check."""
    with database.transaction() as session, isolated(session, settings, "monitor", channel=None):
        due_now = model_check_due(session, settings, clock.now())
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


def _submit_silently(session: Session, settings: Settings, request: Request, key: str) -> list[Job]:
    """Submit a job of the desk itself, without a message; none if it was submitted before."""
    submission = jobs.submit(
        session,
        settings,
        request,
        requested_by=roles.OPERATOR,
        channel=None,
        idem_key=key,
        announce=False,
        limited=False,
    )
    return [submission.job] if submission.created else []


def _check_alerts(database: Database, settings: Settings) -> list[Job]:
    """Submit the check of all alerts, once a day and after sweeps and imports."""
    with database.transaction() as session, isolated(session, settings, "alerts", channel=None):
        key = alerts.check_due(session, settings, clock.now())
        if key is None:
            return []
        return _submit_silently(session, settings, alerts.request(), key)
    return []


def _check_shops(database: Database, settings: Settings) -> list[Job]:
    """Submit the nightly comparison of codes, once a night for each shop with codes of ours."""
    submitted: list[Job] = []
    now = clock.now()
    with database.transaction() as session, isolated(session, settings, "shops", channel=None):
        for connection in shop_checks.due(session, settings, now):
            submitted += _submit_silently(
                session,
                settings,
                ShopReconcile(connection_id=connection.id),
                shop_checks.key(settings, connection, now),
            )
    return submitted


def _check_senders(database: Database, settings: Settings) -> None:
    """Tell people once of each sender of live events that went silent."""
    with database.transaction() as session, isolated(session, settings, "senders", channel=None):
        for post in senders.silent_posts(session, settings, clock.now()):
            outbox.put(session, settings, post, default_channel=None)


def _pull_sources(database: Database, settings: Settings) -> list[Job]:
    """Submit the pulls of due sources. One that fails stops no other."""
    now = clock.now()
    with database.reading() as session:
        due_now = [source.id for source in stored_sources.due(session, settings, now)]
    submitted: list[Job] = []
    for source_id in due_now:
        with database.transaction() as session:
            source = session.get_one(Source, source_id)
            with isolated(session, settings, f"source:{source_id}", channel=source.channel):
                submitted += sources.submit_due(session, settings, source, now)
    return submitted


def _publish_profiles(database: Database, settings: Settings) -> list[Job]:
    """Submit the nightly publication of scores, if another system reads them."""
    with database.transaction() as session, isolated(session, settings, "profiles", channel=None):
        key = publishing.due(session, settings, clock.now())
        if key is None:
            return []
        return _submit_silently(session, settings, PublishProfiles(), key)
    return []


def _sync_platforms(database: Database, settings: Settings) -> list[Job]:
    """Submit the handing over of the newest publication to each mail platform, once."""
    submitted: list[Job] = []
    now = clock.now()
    with database.transaction() as session, isolated(session, settings, "platforms", channel=None):
        for connection, snapshot_id, key in publishing.platforms_due(session, settings, now):
            submitted += _submit_silently(
                session,
                settings,
                PlatformSync(connection_id=connection.id, snapshot_id=snapshot_id),
                key,
            )
    return submitted


def _delete_profiles(database: Database, settings: Settings) -> list[Job]:
    """Submit the next request of each profile that a mail platform still has to delete."""
    submitted: list[Job] = []
    hour = f"{clock.wall():%Y%m%d%H}"  # a job that failed is repeated
    with database.transaction() as session, isolated(session, settings, "deletions", channel=None):
        for row in profile_deletion.due(session, settings):
            key = f"delete_profile:{row.id}:{row.attempts}:{hour}"
            submitted += _submit_silently(session, settings, DeleteProfile(deletion_id=row.id), key)
    return submitted


def model_check_due(
    session: Session, settings: Settings, now: datetime
) -> tuple[Monitor, str, str | None] | None:
    """Return the model check that is due.

    The churn champion is checked every week after its promotion. Missed weeks are not made up for.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    tuple[Monitor, str, str or None] or None
        Request, idempotency key and channel. None if no check is due or it was submitted already.
    """
    row = champion(session, settings, "churn")
    if (
        row is None
        or row.promoted_at is None
        or (week := (now - row.promoted_at) // MODEL_CHECK_EVERY) < 1
    ):
        return None
    key = f"monitor:{row.version}:{week}"
    if session.scalar(select(Job.id).where(Job.idem_key == key)):
        return None
    return Monitor(scheduled=True), key, _alert_channel(session, settings, row)


def next_model_check(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """Return the time of the next model check.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    after : datetime
        Business time.

    Returns
    -------
    datetime or None
        None without a champion.
    """
    row = champion(session, settings, "churn")
    if row is None or row.promoted_at is None:
        return None
    return row.promoted_at + MODEL_CHECK_EVERY * max(
        (after - row.promoted_at) // MODEL_CHECK_EVERY + 1, 1
    )


def _alert_channel(session: Session, settings: Settings, row: ModelVersion) -> str | None:
    """Return the channel for warnings about a model.

    It is the digest's channel, else the one in which the model was requested. Without both, only
    the status shows the warning.
    """
    digest = session.scalar(
        select(Schedule.channel)
        .where(
            Schedule.team_id == settings.team_id,
            Schedule.kind == "digest",
            Schedule.active,
            Schedule.channel.is_not(None),
        )
        .order_by(Schedule.id.desc())
    )
    requested_in = (
        session.scalar(select(Job.channel).where(Job.id == row.job_id)) if row.job_id else None
    )
    return digest or requested_in
