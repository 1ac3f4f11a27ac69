"""`jobs`: what the workers are doing and have done."""

from typing import Any

import click

from bot.commands.tree import Answer, Call, group, whole
from retention import clock
from retention.db.tables import Job
from workers import jobs, roles
from workers.delivery.slack import is_channel


@group("jobs", default="list", help="What the workers are doing and have done.")
def COMMAND() -> None: ...


@COMMAND.command("list", role="viewer")
@click.option("--limit", type=whole(1, 50), default=10, metavar="N", help="How many, newest first.")
def listing(call: Call, limit: int) -> Answer:
    """The newest jobs and where they stand."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        found = jobs.recent(session, settings, limit)
        role = roles.role_of(session, settings, call.user)
    told = [
        described(job) if _may_know_why(job, call.user, role) else {**described(job), "error": None}
        for job in found
    ]
    return Answer("bot/jobs", {"jobs": told})


@COMMAND.command("cancel", role="viewer")
@click.argument("job")
def cancel(call: Call, job: str) -> Answer:
    """Stop a job of yours (an admin: anybody's); it publishes nothing."""
    settings = call.services.settings
    with call.services.database.transaction() as session:
        first = call.first_time(session)
        found = (
            jobs.cancel(session, settings, job, call.user)
            if first
            else jobs.find(session, settings, job)
        )
    return Answer("bot/job_changed", {"job": described(found), "deed": "cancel"})


@COMMAND.command("retry", role="viewer")
@click.argument("job")
def retry(call: Call, job: str) -> Answer:
    """Run a failed or cancelled job of yours again."""
    settings = call.services.settings
    with call.services.database.transaction() as session:
        first = call.first_time(session)
        found = (
            jobs.retry(session, settings, job, call.user)
            if first
            else jobs.find(session, settings, job)
        )
    call.services.queue.wake(found)
    return Answer("bot/job_changed", {"job": described(found), "deed": "retry"})


def _may_know_why(job: Job, user: str, role: str) -> bool:
    """Whether somebody may read why a job failed: what was not asked for in a channel may name a customer."""
    return is_channel(job.channel or "") or user == job.requested_by or roles.allows(role, "admin")


def described(job: Job) -> dict[str, Any]:
    """A job for templates and ``--json``."""
    ended = job.finished_at or clock.wall()
    seconds = (ended - job.started_at).total_seconds() if job.started_at else None
    return {
        "id": job.id,
        "kind": job.kind,
        "title": jobs.title(job.kind),
        "state": job.state,
        "requested_by": job.requested_by,
        "created_at": job.created_at.isoformat(),
        "seconds": None if seconds is None else round(seconds, 1),
        "done": job.progress_done,
        "total": job.progress_total,
        "what": job.progress_text,
        "error": job.error,
    }
