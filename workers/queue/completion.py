"""End jobs and publish their results.

One transaction writes the state, results, lake runs, the task's own SQL and all messages. The
attempt fences it. A worker that has lost its lease changes nothing, because its attempt is no
longer the job's.

A task with several independent results publishes each one with `publish_part` when it is ready.
Published parts stay if the rest of the job fails.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from retention import clock, traces
from retention.db import Database, Transaction
from retention.db.insert import changed
from retention.db.tables import Campaign, Job, Run
from retention.errors import Cancelled, Refused
from retention.text import gettext
from workers import hints
from workers.campaigns.messages import refresh_card
from workers.delivery import job_messages, outbox
from workers.delivery.job_messages import show_cancelled, surviving_models
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds for a database to restart


def complete(database: Database, job: Job, outcome: Outcome) -> None:
    """Publish an outcome and mark the job done.

    Raises `Refused`: raised by ``outcome.apply``. Nothing was published. The caller fails the job.
    """

    def close(session: Transaction) -> bool:
        is_ours = _close(session, job, "done", result=to_json(outcome.data))
        if is_ours:
            if outcome.runs:
                run_id = f"{job.id}-{job.attempt}"
                tables = ",".join(outcome.runs)
                session.add(
                    Run(run_id=run_id, job_id=job.id, table_name=tables, team_id=job.team_id)
                )
            late_posts = (outcome.apply(session) if outcome.apply else None) or ()
            _publish(session, job, (*outcome.posts, *late_posts))
        return is_ours

    if not _committed(database, job.id, close, _ended(job, "done")):
        raise Cancelled
    if outcome.after_commit:
        outcome.after_commit()


def publish_part(
    context: Context,
    result: dict[str, Any],
    apply: Callable[[Transaction], None],
    posts: Sequence[Post] = (),
) -> None:
    """Commit one finished part of a running job.

    `result`: the job's result until now. A later attempt continues after this part.
    """
    stored = to_json(result)

    def write(session: Transaction) -> bool:
        running = update(Job).where(*_running(context.job_id, context.attempt))
        if not changed(session, running.values(result=stored)):
            return False
        apply(session)
        if posts:
            job = session.get_one(Job, context.job_id)
            for post in posts:
                _put(session, job, post, post.key or f"job:{job.id}:part")
        return True

    def written(now: Job) -> bool | None:
        return True if now.attempt == context.attempt and now.result == stored else None

    if not _committed(context.database, context.job_id, write, written):
        raise Cancelled


@contextmanager
def fenced(context: Context) -> Iterator[Transaction]:
    """Open a transaction that only the running attempt can commit."""
    with context.database.transaction() as session:
        running = select(Job.id).where(*_running(context.job_id, context.attempt))
        if session.scalar(running.with_for_update()) is None:
            raise Cancelled
        yield session


def published_parts(session: Transaction, job_id: str) -> dict[str, Any]:
    """Return the parts that a job has published.

    Returns: empty before the first part.
    """
    return session.scalar(select(Job.result).where(Job.id == job_id)) or {}


def fail(
    database: Database,
    job: Job,
    sentence: str,
    reference: str | None = None,
    *,
    partly: str | None = None,
    by_input: bool = False,
) -> str:
    """Mark a job failed, with a message.

    `partly`: replaces the reason if the job has already published a model, because the reason says
    that nothing was published.
    `by_input`: a value of the request is wrong. Only those who asked hear it, and trying again
    cannot help.
    """
    text = sentence

    def close(session: Transaction) -> bool:
        nonlocal text
        models = surviving_models(session, job)
        text = " ".join([partly if partly and models else sentence, *models])
        is_ours = _close(session, job, "failed", error=text, reference=reference)
        if is_ours and job.channel:
            job_messages.show_failed(session, _fresh(session, job), by_input=by_input)
        elif is_ours and job.args.get("view_id"):
            job_messages.show_failed_view(session, job, text)
        if is_ours and job.kind in ("campaign_send", "campaign_deliver"):
            campaign_id = job.args["campaign_id"]
            if session.get(Campaign, campaign_id):  # else the job would fail to fail, for ever
                refresh_card(session, campaign_id)
        return is_ours

    _committed(database, job.id, close, _ended(job, "failed"))
    return text


def cancel(database: Database, job: Job, by: str | None = None) -> bool:
    """Mark a cancelled job as ended.

    `by`: cancels the job in this person's name (Ctrl-C in the terminal), with or without a request.
    """

    def close(session: Transaction) -> bool:
        ours = Job.id == job.id, Job.state == "running", Job.attempt == job.attempt
        ended = update(Job).where(*ours).values(state="cancelled", **_end())
        if by:
            ended = ended.values(cancel_at=clock.wall(), cancelled_by=by)
        else:
            ended = ended.where(Job.cancel_at.is_not(None))
        is_ended = bool(changed(session, ended))
        if is_ended and job.channel:
            show_cancelled(session, _fresh(session, job))
        return is_ended

    return _committed(database, job.id, close, _ended(job, "cancelled"))


@contextmanager
def isolated(
    session: Transaction, what: str, *, channel: str | None, thread_key: str | None = None
) -> Iterator[None]:
    """Isolate one due step and report its failure.

    A failed step is undone and logged, and reported once a day. The next tick tries it again. Other
    steps in the caller's transaction go on.

    `what`: name of the step, in the log and (with the day) in the key of the report.
    `channel`: where a failure is reported. Without a channel it is only logged.
    """
    with traces.span("due.step"):
        try:
            with session.begin_nested():
                yield
        except OperationalError:
            raise
        except Exception as error:
            _report(session, what, error, channel, thread_key)


def _report(
    session: Transaction, what: str, error: Exception, channel: str | None, thread_key: str | None
) -> None:
    """Report a failed due step, once a day."""
    reference = traces.reference(error)
    log.error("%s is due and failed; reference %s", what, reference, exc_info=error)
    reason = gettext("Something went wrong on our side.")
    if isinstance(error, Refused):
        reason = hints.sentence(error)
    key = f"due:{what}:{clock.now().astimezone(session.settings.zone):%Y-%m-%d}"
    if outbox.channel_of(session, key) is None:
        report = Post(
            "job/due", {"why": reason, "reference": reference}, key=key, thread_key=thread_key
        )
        outbox.put(session, report, default_channel=channel)


def to_json(data: Any) -> Any:
    """Convert a result to plain JSON types.

    Decimals become numbers, times become ISO 8601, NumPy scalars become Python's. NaN, infinity and
    NaT become null, because PostgreSQL refuses NaN.
    """

    def other(value: Any) -> Any:
        if isinstance(value, Decimal):
            return float(value)
        if isinstance(value, datetime | date):
            return value.isoformat() if value == value else None  # NaT does not equal itself
        if hasattr(value, "item"):
            return value.item()
        raise TypeError(f"{type(value).__name__} in a job's result")

    return json.loads(json.dumps(data, default=other), parse_constant=lambda _: None)


def _close(session: Transaction, job: Job, state: str, **values: Any) -> bool:
    """End a job that belongs to this attempt."""
    ours = update(Job).where(*_running(job.id, job.attempt))
    return bool(changed(session, ours.values(state=state, **_end(), **values)))


def _end() -> dict[str, Any]:
    return {"finished_at": clock.wall(), "lease_until": None}


def _running(job_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return (
        Job.id == job_id,
        Job.state == "running",
        Job.attempt == attempt,
        Job.cancel_at.is_(None),
    )


def _ended(job: Job, state: str) -> Callable[[Job], bool | None]:
    """Return a check for a lost commit of this attempt.

    The check reads the stored row. It returns None for a row without such a commit.
    """
    return lambda now: now.attempt == job.attempt if now.state == state else None


def _committed(
    database: Database,
    job_id: str,
    close: Callable[[Transaction], bool],
    was_made: Callable[[Job], bool | None],
) -> bool:
    """Commit, and retry while the database is down.

    `was_made`: called after a commit without an answer. Returns whether the stored row shows that
    commit. None or False means to commit again.
    """
    until = time.monotonic() + _PATIENCE
    is_uncertain = False
    while True:
        try:
            with database.transaction() as session:
                now = session.get(Job, job_id) if is_uncertain else None
                committed = was_made(now) if now else None
                return close(session) if committed is None else committed
        except DBAPIError as error:
            is_away = isinstance(error, OperationalError | InterfaceError)
            is_down = error.connection_invalidated or is_away
            if not is_down or time.monotonic() > until:
                raise
            log.warning("job %s: the database is away (%s); trying again", job_id, error.orig)
            is_uncertain = True
            time.sleep(1)


def _fresh(session: Transaction, job: Job) -> Job:
    return session.get_one(Job, job.id, populate_existing=True)


def _publish(session: Transaction, job: Job, posts: Sequence[Post]) -> None:
    """Write the messages of an outcome.

    The first one without a key replaces the progress bar if it goes to the same channel.
    """
    own_key = f"job:{job.id}"
    shown_in = outbox.channel_of(session, own_key)
    replaced = False
    for number, post in enumerate(posts):
        key = post.key
        if key is None:
            same_channel = shown_in is None or (post.channel or job.channel) == shown_in
            replaces = same_channel and not replaced and not (post.file and shown_in)
            key = own_key if replaces else f"{own_key}:{number}"
            replaced = replaced or replaces
        _put(session, job, post, key)
    if shown_in is not None and not replaced:
        job_messages.show_done(session, _fresh(session, job))


def _put(session: Transaction, job: Job, post: Post, key: str) -> None:
    thread = post.thread_key if post.key or post.thread_key else job.thread_key
    keyed = replace(post, key=key, thread_key=thread)
    outbox.put(session, keyed, default_channel=job.channel, job_id=job.id)
