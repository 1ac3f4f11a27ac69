"""List, pause, resume, delete and run schedules.

The command `schedule` and App Home use these functions.
"""

from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Schedule
from retention.errors import BadInput
from retention.text import gettext
from workers import user_roles
from workers.job_requests import REQUESTS, title_of
from workers.queue import jobs
from workers.queue.jobs import Submission
from workers.schedule import tick
from workers.typed_times import due_at

NEXT_RUNS = 3


def active(session: Transaction) -> list[Schedule]:
    """Return the schedules that are not deleted, in the order of their numbers."""
    return list(
        session.scalars(
            select(Schedule)
            .where(Schedule.team_id == session.settings.team_id, Schedule.active)
            .order_by(Schedule.id)
        )
    )


def next_runs(row: Schedule, after: datetime, number: int = NEXT_RUNS) -> list[datetime]:
    """Return the next times at which a schedule runs; none while it is paused."""
    if row.paused_at is not None:
        return []
    due = (at for _, at in tick.slots(row) if at > after)
    return list(islice(due, number))


def summary(row: Schedule, now: datetime | None = None) -> dict[str, Any]:
    """Return a schedule as data for lists, App Home and ``--json``."""
    return {
        "number": row.id,
        "command": row.command or row.kind,
        "title": title_of(row.kind),
        "every": str(tick.cadence_of(row)),
        "timezone": row.timezone,
        "channel": row.channel,
        "paused": row.paused_at is not None,
        "next": [at.isoformat() for at in next_runs(row, now or clock.now())],
        "created_by": row.created_by,
    }


def summaries(session: Transaction) -> list[dict[str, Any]]:
    """Return all schedules as data, with their next three runs."""
    now = clock.now()
    return [summary(row, now) for row in active(session)]


def find(session: Transaction, number: int) -> Schedule:
    row = session.get(Schedule, number)
    if row is None or row.team_id != session.settings.team_id or not row.active:
        text = gettext(
            "There is no schedule with the number {number}; `/retention schedule list` shows all."
        )
        raise BadInput(text.format(number=number))
    return row


def pause(session: Transaction, number: int, by: str) -> Schedule:
    """Pause a schedule; pausing twice changes nothing."""
    row = find(session, number)
    if row.paused_at is None:
        row.paused_at = clock.now()
        record(session, by, "schedule.pause", str(row.id), row.paused_at, {})
    return row


def resume(session: Transaction, number: int, by: str) -> Schedule:
    """Resume a paused schedule with its next slot; slots of the pause never run."""
    row = find(session, number)
    if row.paused_at is not None:
        now = clock.now()
        today = now.astimezone(ZoneInfo(row.timezone)).date()
        is_past = due_at(today, row.at, row.timezone) <= now
        missed = today if is_past else today - timedelta(days=1)
        row.last_slot = max(row.last_slot or missed, missed)
        row.paused_at = None
        record(session, by, "schedule.resume", str(row.id), now, {})
    return row


def delete(session: Transaction, number: int, by: str) -> Schedule:
    row = find(session, number)
    row.active = False
    record(session, by, "schedule.delete", str(row.id), clock.now(), {})
    return row


def run_now(session: Transaction, number: int, by: str, idem_key: str) -> Submission:
    """Submit a schedule's job now; call `jobs.wake` after the commit."""
    row = find(session, number)
    request = REQUESTS[row.kind].model_validate(row.args)
    user_roles.require(session, by, request.role, request.deed)
    return jobs.submit(session, request, requested_by=by, channel=row.channel, idem_key=idem_key)
