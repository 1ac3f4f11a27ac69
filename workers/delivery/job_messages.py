"""Slack messages of a job: its progress, its failure and its end.

The results of tasks are other messages (`workers.queue.completion`). Every function that takes a
session runs in the caller's transaction.
"""

from typing import Any

from sqlalchemy import delete, select

from retention import clock
from retention.db import Transaction
from retention.db.tables import Job, JobJoin, Outbox
from retention.text import gettext, use_language
from workers import languages
from workers.delivery import outbox
from workers.job_requests import title_of
from workers.tasks.interface import Post


def show_progress(session: Transaction, job: Job, left_seconds: float | None = None) -> None:
    """Show the progress in the job's message."""
    with use_language(languages.of_job(session, job)):  # of the job's title
        _show(session, job, "job/progress", left_seconds=left_seconds)


def show_failed(session: Transaction, job: Job, *, by_input: bool = False) -> None:
    """Report a failure in a new message.

    An edit notifies no one, and the progress message may be far up. It only says that the job
    failed. If it was never posted, the report takes its place, and people see one message. If a
    person's input is wrong, the report is a direct message without a button, to everyone who asked.
    """
    progress = f"job:{job.id}"
    if not _withdraw(session, progress) and outbox.channel_of(session, progress) is not None:
        _show(session, job, "job/stopped", by_input=by_input)
    key, to = failure_key(job), job.requested_by if by_input and job.by_person else None
    _show(session, job, "job/failed", key=key, to=to, by_input=by_input)
    joined = select(JobJoin.user_id).where(JobJoin.job_id == job.id, JobJoin.user_id != (to or ""))
    for user in session.scalars(joined.distinct()).all() if by_input else ():
        _show(session, job, "job/failed", key=f"{key}:{user}", to=user, by_input=True)


def show_failed_view(session: Transaction, job: Job, text: str) -> None:
    """Report a failure in the modal that waits for the job."""
    post = Post(
        "score/failed",
        {"error": text},
        key=f"view:{job.id}",
        channel=job.requested_by,
        view_id=job.args["view_id"],
    )
    outbox.put(session, post, default_channel=None, job_id=job.id)


def show_cancelled(session: Transaction, job: Job) -> None:
    stays = " ".join(surviving_models(session, job))
    _show(session, job, "job/cancelled", stays=stays)


def show_done(session: Transaction, job: Job) -> None:
    """Show that the result went elsewhere."""
    _show(session, job, "job/done")


def show_retried(session: Transaction, job: Job) -> None:
    """Remove the retry button from the last failure report, and show the progress."""
    key = failure_key(job)
    if outbox.channel_of(session, key) is not None:
        _show(session, job, "job/retried", key=key)
    show_progress(session, job)


def failure_key(job: Job) -> str:
    """Return the outbox key of the failure report."""
    return f"job:{job.id}:failed:{job.attempt}"


def surviving_models(session: Transaction, job: Job) -> list[str]:
    """Describe each model that a failed or cancelled job has published."""
    if job.kind != "retrain":
        return []  # other results may have 15 MB
    result = session.scalar(select(Job.result).where(Job.id == job.id)) or {}
    return [_surviving_model(model) for model in result.get("models", ())]


def _surviving_model(model: dict[str, Any]) -> str:
    """Describe a model that survives its job."""
    if model["promoted"]:
        sentence = gettext("The {kind} model trained before that, {version}, stays in use.")
    else:
        sentence = gettext(
            "The {kind} model trained before that, {version}, stays stored (it was not promoted)."
        )
    return sentence.format(kind=model["kind"], version=model["version"])


def template_values(job: Job) -> dict[str, Any]:
    """Return the values of a job that templates show."""
    return {
        "id": job.id,
        "kind": job.kind,
        "title": title_of(job.kind),
        "state": job.state,
        "args": job.args,
        "requested_by": job.requested_by,
        "private": job.channel == job.requested_by,
        "done": job.progress_done,
        "total": job.progress_total,
        "what": job.progress_text,
        "error": job.error or "",
        "reference": job.reference or "",
        "cancelled_by": job.cancelled_by or "",
        "cancelling": job.cancel_at is not None,
        "attempt": job.attempt,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at and clock.business(job.finished_at),
    }


def _withdraw(session: Transaction, key: str) -> bool:
    """Delete a message that certainly never reached Slack. Returns False if it may have."""
    unsent = delete(Outbox).where(
        Outbox.key == key,
        Outbox.ts.is_(None),
        Outbox.ambiguous == 0,
        Outbox.state.in_(("pending", "rate_limited")),
    )
    return bool(session.change(unsent))


def _show(
    session: Transaction,
    job: Job,
    template: str,
    *,
    key: str | None = None,
    to: str | None = None,
    **values: Any,
) -> None:
    shown, thread_key = {"job": template_values(job), **values}, None if to else job.thread_key
    post = Post(template, shown, key=key, channel=to, thread_key=thread_key)
    outbox.put(session, post, default_channel=job.channel, job_id=job.id)
