"""`jobs`: list, cancel and retry the workers' jobs."""

from typing import Any

import click

from bot.commands.tree import Answer, Call, group, integer
from retention import clock
from retention.db.tables import Job
from retention.text import gettext
from workers import jobs, roles
from workers.delivery.slack import is_channel
from workers.requests import title_of


@group("jobs", default="list", help=gettext("What the workers are doing and have done."))
def COMMAND() -> None: ...


@COMMAND.command("list", role="viewer", help=gettext("The newest jobs and where they stand."))
@click.option(
    "--limit", type=integer(1, 50), default=10, metavar="N", help=gettext("How many, newest first.")
)
def listing(call: Call, limit: int) -> Answer:
    """List the newest jobs."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        recent = jobs.recent(session, settings, limit)
        role = roles.role_of(session, settings, call.user)
    rows = [
        described(job)
        if _may_see_error(job, call.user, role)
        else {**described(job), "error": None}
        for job in recent
    ]
    return Answer("bot/jobs", {"jobs": rows})


@COMMAND.command(
    "cancel",
    role="viewer",
    help=gettext("Stop a job of yours (an admin: anybody's); it publishes nothing."),
)
@click.argument("job")
def cancel(call: Call, job: str) -> Answer:
    """Cancel a job."""
    settings = call.services.settings
    with call.services.database.transaction() as session:
        is_first = call.first_time(session)
        row = (
            jobs.cancel(session, settings, job, call.user)
            if is_first
            else jobs.find(session, settings, job)
        )
    deed = "withdraw" if jobs.goes_on(row) else "cancel"
    return Answer("bot/job_changed", {"job": described(row), "deed": deed})


@COMMAND.command(
    "retry", role="viewer", help=gettext("Run a failed or cancelled job of yours again.")
)
@click.argument("job")
def retry(call: Call, job: str) -> Answer:
    """Run a failed or cancelled job again."""
    settings = call.services.settings
    with call.services.database.transaction() as session:
        is_first = call.first_time(session)
        row = (
            jobs.retry(session, settings, job, call.user)
            if is_first
            else jobs.find(session, settings, job)
        )
    call.services.queue.wake(row)
    return Answer("bot/job_changed", {"job": described(row), "deed": "retry"})


def _may_see_error(job: Job, user: str, role: str) -> bool:
    """Return whether a person may see a job's error.

    The error of a job that was not requested in a channel may name a customer.
    """
    return is_channel(job.channel or "") or user == job.requested_by or roles.allows(role, "admin")


def described(job: Job) -> dict[str, Any]:
    """Return a job's data for templates and ``--json``."""
    ended = job.finished_at or clock.wall()
    seconds = (ended - job.started_at).total_seconds() if job.started_at else None
    return {
        "id": job.id,
        "kind": job.kind,
        "title": title_of(job.kind),
        "state": job.state,
        "requested_by": job.requested_by,
        "created_at": job.created_at.isoformat(),
        "business_at": job.business_at.isoformat(),
        "seconds": None if seconds is None else round(seconds, 1),
        "done": job.progress_done,
        "total": job.progress_total,
        "what": job.progress_text,
        "error": job.error,
    }
