"""`jobs`: what the workers are doing and have done."""

from typing import Any

import click

from bot.commands.tree import Answer, Call, group, whole
from retention import clock
from retention.db.tables import Job
from workers import jobs


@group("jobs", default="list", help="What the workers are doing and have done.")
def COMMAND() -> None: ...


@COMMAND.command("list", role="viewer")
@click.option("--limit", type=whole(1, 50), default=10, metavar="N", help="How many, newest first.")
def listing(call: Call, limit: int) -> Answer:
    """The newest jobs and where they stand."""
    with call.services.database.reading() as session:
        found = jobs.recent(session, call.services.settings, limit)
    return Answer("bot/jobs", {"jobs": [described(job) for job in found]})


@COMMAND.command("cancel", role="viewer")
@click.argument("job")
def cancel(call: Call, job: str) -> Answer:
    """Stop a job of yours (an admin: anybody's); it publishes nothing."""
    with call.services.database.transaction() as session:
        found = jobs.cancel(session, call.services.settings, job, call.user)
    return Answer("bot/job_changed", {"job": described(found), "deed": "cancel"})


@COMMAND.command("retry", role="viewer")
@click.argument("job")
def retry(call: Call, job: str) -> Answer:
    """Run a failed or cancelled job of yours again."""
    with call.services.database.transaction() as session:
        found = jobs.retry(session, call.services.settings, job, call.user)
    call.services.queue.wake(found)
    return Answer("bot/job_changed", {"job": described(found), "deed": "retry"})


def described(job: Job) -> dict[str, Any]:
    """A job for templates and ``--json``."""
    ended = job.finished_at or clock.wall()
    seconds = (ended - job.started_at).total_seconds() if job.started_at else None
    return {
        "id": job.id, "kind": job.kind, "title": jobs.title(job.kind), "state": job.state,
        "requested_by": job.requested_by, "created_at": job.created_at.isoformat(),
        "seconds": None if seconds is None else round(seconds, 1),
        "done": job.progress_done, "total": job.progress_total, "what": job.progress_text,
        "error": job.error,
    }  # fmt: skip
