"""Submit due work: schedules, campaign steps and model checks.

A slot is a local date. It is due at the schedule's local time in its own IANA zone. When a clock is
set back, the first of two equal times counts. When it is set forward, the time moves by the gap.
One transaction takes the slot and stores its job. Slots are unique, so any number of ticks makes
one run.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle import due
from retention.connect.live import silent_senders
from retention.connect.platforms import profile_deletion
from retention.connect.sources import source_records as stored_sources
from retention.db import Database, Transaction, audit_chain
from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import Job, ModelVersion, Schedule, Slot, Source
from retention.errors import BadInput, Refused
from retention.registry import champion
from retention.settings import Settings
from retention.text import gettext
from workers.campaigns import due_steps
from workers.campaigns.job_requests import ShopReconcile
from workers.customers import chats
from workers.data import source_pulls
from workers.delivery import outbox
from workers.job_requests import (
    REQUESTS,
    AlertCheck,
    DeleteProfile,
    Monitor,
    PlatformSync,
    PublishProfiles,
    Request,
)
from workers.queue import jobs
from workers.queue.completion import isolated
from workers.schedule import due_alerts, due_publishing, due_shop_checks
from workers.schedule.cadence import Cadence
from workers.tasks.interface import Post
from workers.typed_times import due_at

log = logging.getLogger(__name__)

MODEL_CHECK_EVERY = timedelta(days=7)
MAX_DELAY = timedelta(hours=12)  # later slots are skipped


def add(
    session: Transaction,
    request: Request,
    cadence: Cadence,
    timezone: str,
    *,
    channel: str | None,
    by: str,
    command: str | None = None,
) -> Schedule:
    """Store a schedule that starts with the next slot."""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", cadence.at):
        text = gettext("{at!r} is not a time of day; write it like 09:00")
        raise BadInput(text.format(at=cadence.at))
    if timezone not in clock.time_zones():
        text = gettext("{timezone!r} is no IANA time zone; try e.g. Europe/London")
        raise BadInput(text.format(timezone=timezone))
    schedule = Schedule(
        team_id=session.settings.team_id,
        kind=request.kind,
        args=request.model_dump(mode="json", exclude_unset=True),
        command=command,
        timezone=timezone,
        channel=channel,
        created_by=by,
        created_at=clock.now(),
        **asdict(cadence),
    )
    session.add(schedule)
    session.flush()
    details = {"kind": request.kind, "command": command, "channel": channel, "at": cadence.at}
    record(session, by, "schedule.add", str(schedule.id), schedule.created_at, details)
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


def tick(database: Database) -> list[str]:
    """Submit everything that is due by business time.

    These are schedules, campaign steps and model checks. One that fails stops no other.
    """
    submitted: list[Job] = []
    with database.reading() as session:
        active = session.scalars(select(Schedule.id).where(*_runs(database.settings))).all()
    for schedule_id in active:
        with database.transaction() as session:
            due_now = session.get_one(Schedule, schedule_id)
            with isolated(session, f"schedule:{schedule_id}", channel=due_now.channel):
                submitted += _fire(session, due_now, clock.now())
    submitted += _campaigns(database)
    _check_senders(database)
    _anchor_audit(database)
    submitted += _pull_sources(database) + _submit_due(database)
    jobs.wake_all(database.settings, submitted)
    return [job.id for job in submitted]


def next_due(session: Transaction, after: datetime) -> datetime | None:
    """Return the next time at which something is due that needs the data of that time.

    Not the nightly checks of shops and the weekly ones of models: a later tick makes one. The
    demo's clock would import the orders of each of these moments.
    """
    moments = [
        next(at for _, at in slots(schedule) if at > after)
        for schedule in session.scalars(select(Schedule).where(*_runs(session.settings)))
    ]
    campaigns = due.next_moment(session, after)
    alert_check = due_alerts.next_check(session, after)
    pull = stored_sources.next_due(session, after)
    published = due_publishing.next_moment(session, after)
    silence = silent_senders.next_check(session, after)
    due_then = (campaigns, alert_check, pull, published, silence)
    moments += [moment for moment in due_then if moment is not None]
    return min(moments, default=None)


def _runs(settings: Settings) -> tuple[Any, ...]:
    """Return the conditions of schedules that run: neither deleted nor paused."""
    return (
        Schedule.team_id == settings.team_id,
        Schedule.active.is_(True),
        Schedule.paused_at.is_(None),
    )


def _fire(session: Transaction, schedule: Schedule, now: datetime) -> list[Job]:
    """Take the due slots of a schedule.

    The newest one runs. Older and very late ones are marked as skipped.
    """
    due_slots = list(takewhile(lambda one: one[1] <= now, slots(schedule)))
    submitted: list[Job] = []
    own = {"team_id": session.settings.team_id, "schedule_id": schedule.id}
    for slot, at in due_slots:
        runs = slot == due_slots[-1][0] and now - at < MAX_DELAY
        state = "fired" if runs else "skipped"
        if not insert_once(session, Slot, slot=slot, due_at=at, state=state, **own):
            continue
        if runs:
            submitted += _submit(session, schedule, slot)
        else:
            text = "schedule %s (%s): the slot of %s was missed and is skipped"
            log.warning(text, schedule.id, schedule.kind, slot)
    if due_slots:
        schedule.last_slot = due_slots[-1][0]
    return submitted


def _submit(session: Transaction, schedule: Schedule, slot: date) -> list[Job]:
    own = Slot.schedule_id == schedule.id, Slot.slot == slot
    row = session.scalars(select(Slot).where(*own)).one()
    try:
        submission = jobs.submit_due(
            session,
            REQUESTS[schedule.kind].model_validate(schedule.args),
            f"schedule:{schedule.id}:{slot}",
            requested_by=schedule.created_by,
            channel=schedule.channel,
        )
    except Refused as refusal:  # its author may have lost the role
        log.warning("schedule %s (%s) of %s: %s", schedule.id, schedule.kind, slot, refusal)
        row.state = "skipped"
        return []
    row.job_id = submission.job.id
    return submission.new


def _campaigns(database: Database) -> list[Job]:
    """Carry out due steps of campaigns.

    They expire, send reminders, get scheduled, send and measure.
    """
    now = clock.now()
    submitted: list[Job] = []
    with database.transaction() as session:
        due_steps.expire(session, now)
        due_steps.remind(session, now)
        due_steps.schedule(session, now)
        due_steps.report_misuse(session, now)
        due_steps.report_late(session)
        for request, idem_key, user, channel, thread_key in due_steps.due_requests(session, now):
            place: dict[str, Any] = {"channel": channel, "thread_key": thread_key}
            with isolated(session, thread_key, **place):
                submission = jobs.submit_due(session, request, idem_key, requested_by=user, **place)
                if submission.created or _was_requeued(session, submission.job):
                    submitted.append(submission.job)
    return submitted


def _was_requeued(session: Transaction, job: Job) -> bool:
    """Return whether a failed sending was queued again. Its cause may have been fixed."""
    wall = clock.wall()
    over = job.state == "failed" and (job.finished_at or wall) <= wall - due.MAX_PAUSE
    return over and job.kind == "campaign_send" and jobs.requeue(session, job, limited=False)


Due = Iterable[tuple[Request, str, str | None]]  # request, key and channel


def _submit_due(database: Database) -> list[Job]:
    """Submit the desk's own work that is due. One part that fails stops no other."""
    now = clock.now()
    submitted: list[Job] = []
    for what, find in _OWN_WORK.items():
        with database.transaction() as session, isolated(session, what, channel=None):
            for request, key, channel in find(session, now):
                submitted += jobs.submit_due(session, request, key, channel=channel).new
    return submitted


def _alert_check(session: Transaction, now: datetime) -> Due:
    """Once a day and after sweeps and imports."""
    key = due_alerts.check_due(session, now)
    return [(AlertCheck(), key, None)] if key else []


def _shop_checks(session: Transaction, now: datetime) -> Due:
    """Compare codes once a night for each shop with codes of ours."""
    for connection in due_shop_checks.due(session, now):
        key = due_shop_checks.key(session.settings, connection, now)
        yield ShopReconcile(connection_id=connection.id), key, None


def _publication(session: Transaction, now: datetime) -> Due:
    """Publish scores every night if another system reads them."""
    key = due_publishing.due(session, now)
    return [(PublishProfiles(), key, None)] if key else []


def _platform_syncs(session: Transaction, now: datetime) -> Due:
    """Hand the newest publication over to each mail platform, once."""
    for connection, snapshot_id, key in due_publishing.platforms_due(session, now):
        yield PlatformSync(connection_id=connection.id, snapshot_id=snapshot_id), key, None


def _profile_deletions(session: Transaction, now: datetime) -> Due:
    """Ask again for each profile that a mail platform still has to delete."""
    hour = f"{clock.wall():%Y%m%d%H}"  # a job that failed is repeated
    for row in profile_deletion.due(session):
        key = f"delete_profile:{row.id}:{row.attempts}:{hour}"
        yield DeleteProfile(deletion_id=row.id), key, None


def _check_senders(database: Database) -> None:
    """Tell people once of each sender of live events that went silent."""
    with database.transaction() as session, isolated(session, "senders", channel=None):
        for post in source_pulls.silent_posts(session, clock.now()):
            outbox.put(session, post, default_channel=None)


def _anchor_audit(database: Database) -> None:
    """Keep the head of the audit log in the home and post it to the admins' channel, once a day.

    So a log that was cut or written anew shows, although the database has no trace of it.
    """
    settings = database.settings
    day = clock.now().astimezone(settings.zone).date()
    key = f"audit_head:{settings.team_id}:{day}"
    with database.reading() as session:  # most ticks find it there
        head = audit_chain.head(session)
        if head == audit_chain.START:
            return
        try:
            audit_chain.keep_head(settings, str(day), head)
        except OSError as error:
            log.warning("the head of the audit log cannot be kept in the home: %s", error.strerror)
        if not settings.admin_channel or outbox.channel_of(session, key) is not None:
            return
        faults = len(audit_chain.verify(session).problems)
    values = {"head": head, "day": str(day), "faults": faults}
    post = Post("bot/audit_head", values, key=key)
    with database.transaction() as session, isolated(session, "audit", channel=None):
        outbox.put(session, post, default_channel=settings.admin_channel)


def _pull_sources(database: Database) -> list[Job]:
    """Submit the pulls of due sources. One that fails stops no other."""
    now = clock.now()
    with database.reading() as session:
        due_now = [source.id for source in stored_sources.due(session, now)]
    submitted: list[Job] = []
    for source_id in due_now:
        with database.transaction() as session:
            source = session.get_one(Source, source_id)
            with isolated(session, f"source:{source_id}", channel=source.channel):
                submitted += source_pulls.submit_due(session, source, now)
    return submitted


def model_check_due(session: Transaction, now: datetime) -> Due:
    """Return the model check if it is due.

    The churn champion is checked every week after its promotion. Missed weeks are not made up for.
    """
    row = champion(session, "churn")
    if row is None or row.promoted_at is None:
        return []
    week = (now - row.promoted_at) // MODEL_CHECK_EVERY
    key = f"monitor:{row.version}:{week}"
    if week < 1 or session.scalar(select(Job.id).where(Job.idem_key == key)):
        return []
    return [(Monitor(scheduled=True), key, _alert_channel(session, row))]


def _alert_channel(session: Transaction, row: ModelVersion) -> str | None:
    """Return the channel for warnings about a model.

    It is the digest's channel, else the one in which the model was requested. Without both, only
    the status shows the warning.
    """
    if digest := source_pulls.digest_channel(session):
        return digest
    return session.scalar(select(Job.channel).where(Job.id == row.job_id)) if row.job_id else None


_OWN_WORK: dict[str, Callable[[Transaction, datetime], Due]] = {
    "monitor": model_check_due,
    "alerts": _alert_check,
    "shops": _shop_checks,
    "profiles": _publication,
    "platforms": _platform_syncs,
    "deletions": _profile_deletions,
    "chats": chats.due,
}
