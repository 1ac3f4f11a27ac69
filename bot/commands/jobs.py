"""`jobs`: list, cancel and retry the workers' jobs. `posts`: messages that did not reach Slack."""

from typing import Any

import click

from bot.commands.parameters import integer, list_length
from bot.commands.tree import Answer, Call, fields_of, group
from retention import clock
from retention.db.audit import record
from retention.db.tables import Job, Outbox
from retention.text import gettext
from workers import user_roles
from workers.delivery import outbox
from workers.delivery.slack_client import is_channel
from workers.job_requests import title_of
from workers.queue import jobs

JOBS = group("jobs", default="list")


@JOBS.command("list", role="viewer", help=gettext("The newest jobs and where they stand."))
@list_length("--limit", 50, gettext("How many, newest first."))
def list_jobs(call: Call, limit: int) -> Answer:
    """List the newest jobs."""
    with call.database.reading() as session:
        recent = jobs.recent(session, limit)
        role = user_roles.role_of(session, call.user)
    rows = [
        {**described(job), "error": job.error if _may_see_error(job, call.user, role) else None}
        for job in recent
    ]
    return Answer("bot/jobs", {"jobs": rows})


@JOBS.command(
    "cancel",
    role="viewer",
    help=gettext("Stop a job of yours (an admin: anybody's); it publishes nothing."),
)
@click.argument("job")
def cancel(call: Call, job: str) -> Answer:
    """Cancel a job."""
    with call.database.transaction() as session:
        is_first = call.first_time(session)
        row = jobs.cancel(session, job, call.user) if is_first else jobs.find(session, job)
    deed = "withdraw" if jobs.goes_on(row) else "cancel"
    return Answer("bot/job_changed", {"job": described(row), "deed": deed})


@JOBS.command("retry", role="viewer", help=gettext("Run a failed or cancelled job of yours again."))
@click.argument("job")
def retry(call: Call, job: str) -> Answer:
    """Run a failed or cancelled job again."""
    with call.database.transaction() as session:
        is_first = call.first_time(session)
        row = jobs.retry(session, job, call.user) if is_first else jobs.find(session, job)
    call.services.queue.wake(row)
    return Answer("bot/job_changed", {"job": described(row), "deed": "retry"})


def _may_see_error(job: Job, user: str, role: str) -> bool:
    """Return whether a person may see a job's error.

    The error of a job that was not requested in a channel may name a customer.
    """
    return (
        is_channel(job.channel or "")
        or user == job.requested_by
        or user_roles.allows(role, "admin")
    )


def described(job: Job) -> dict[str, Any]:
    """Return a job's data for templates and ``--json``."""
    ended = job.finished_at or clock.wall()
    seconds = (ended - job.started_at).total_seconds() if job.started_at else None
    return {
        **fields_of(job, "id", "kind", "state", "requested_by", "created_at", "business_at"),
        "title": title_of(job.kind),
        "seconds": None if seconds is None else round(seconds, 1),
        "done": job.progress_done,
        "total": job.progress_total,
        "what": job.progress_text,
        "error": job.error,
    }


POSTS = group("posts", default="list")


@POSTS.command(
    "list",
    role="admin",
    help=gettext(
        "What is held (nobody knows whether Slack took it) or failed (Slack refused it), and why."
    ),
)
def list_posts(call: Call) -> Answer:
    """List held and failed messages."""
    with call.database.reading() as session:
        return Answer("bot/posts", {"posts": [_shown(post) for post in outbox.stuck(session)]})


@POSTS.command(
    "release",
    role="admin",
    help=gettext(
        "Try one again; a held one is looked for in its channel first, so it is never shown twice."
    ),
)
@click.argument("post", type=integer())
def release(call: Call, post: int) -> Answer:
    """Retry a message."""
    with call.database.transaction() as session:
        released = outbox.release(session, post)
        record(session, call.user, "post.release", released.key, clock.now(), {})
        return Answer("bot/post_released", {"post": _shown(released)})


def _shown(post: Outbox) -> dict[str, Any]:
    return {
        **fields_of(post, "id", "state", "channel", "error", "job_id"),
        "created_at": clock.business(post.created_at).isoformat(),  # the desk's clock
        "text": post.payload.get("text", ""),
    }
