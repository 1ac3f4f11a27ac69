"""End jobs and publish their results.

One transaction writes the state, results, lake runs, the task's own SQL and all messages. The
attempt fences it. A worker that has lost its lease changes nothing, because its attempt is no
longer the job's.

A task with several independent results publishes each one with `publish_part` when it is ready.
Published parts stay if the rest of the job fails.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from retention import clock
from retention.db import Database
from retention.db.tables import Campaign, Job, Run
from retention.errors import Cancelled, Refused
from retention.settings import Settings
from retention.text import gettext
from workers.campaign_messages import refresh_card
from workers.delivery import outbox
from workers.job_messages import (
    show_cancelled,
    show_done,
    show_failed,
    show_failed_view,
    surviving_models,
)
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds for a database to restart


def complete(settings: Settings, database: Database, job: Job, outcome: Outcome) -> None:
    """Publish an outcome and mark the job done.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Holds jobs, campaigns and messages.
    job : Job
        As stored.
    outcome : Outcome
        Returned by the task.

    Raises
    ------
    Cancelled
        The job was cancelled, or another attempt has it. Nothing was published.
    Refused
        Raised by ``outcome.apply``. Nothing was published. The caller fails the job.
    """

    def close(session: Session) -> bool:
        is_ours = _close(session, job, "done", result=to_json(outcome.data))
        if is_ours:
            if outcome.runs:
                run_id = f"{job.id}-{job.attempt}"
                tables = ",".join(outcome.runs)
                session.add(
                    Run(run_id=run_id, job_id=job.id, table_name=tables, team_id=job.team_id)
                )
            late_posts = (outcome.apply(session) if outcome.apply else None) or ()
            _publish(session, settings, job, (*outcome.posts, *late_posts))
        return is_ours

    if not _committed(database, job.id, close, _ended(job, "done")):
        raise Cancelled
    if outcome.after_commit:
        outcome.after_commit()


def publish_part(
    context: Context,
    result: dict[str, Any],
    apply: Callable[[Session], None],
    posts: Sequence[Post] = (),
) -> None:
    """Commit one finished part of a running job.

    Parameters
    ----------
    context : Context
        The attempt that did the work. It fences the transaction.
    result : dict
        The job's result until now. A later attempt continues after this part.
    apply : callable
        Writes the part in the same transaction.
    posts : sequence of Post, optional
        Messages about the part, each with a key. A later post with the same key replaces it.

    Raises
    ------
    Cancelled
        The job was cancelled, or another attempt has it. Nothing was written.
    """
    stored = to_json(result)

    def write(session: Session) -> bool:
        updated = session.execute(
            update(Job).where(*_running(context.job_id, context.attempt)).values(result=stored)
        )
        if not updated.rowcount:  # type: ignore[attr-defined]
            return False
        apply(session)
        if posts:
            job = session.get_one(Job, context.job_id)
            for post in posts:
                _put(session, context.settings, job, post, post.key or f"job:{job.id}:part")
        return True

    def written(now: Job) -> bool | None:
        return True if now.attempt == context.attempt and now.result == stored else None

    if not _committed(context.database, context.job_id, write, written):
        raise Cancelled


@contextmanager
def fenced(context: Context) -> Iterator[Session]:
    """Open a transaction that only the running attempt can commit.

    Parameters
    ----------
    context : Context
        The attempt.

    Yields
    ------
    Session

    Raises
    ------
    Cancelled
        The job was cancelled, or another attempt has it. Nothing was written.
    """
    with context.database.transaction() as session:
        running = select(Job.id).where(*_running(context.job_id, context.attempt))
        if session.scalar(running.with_for_update()) is None:
            raise Cancelled
        yield session


def published_parts(session: Session, job_id: str) -> dict[str, Any]:
    """Return the parts that a job has published.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    job_id : str
        Id of the job.

    Returns
    -------
    dict
        Empty before the first part.
    """
    return session.scalar(select(Job.result).where(Job.id == job_id)) or {}


def fail(
    settings: Settings,
    database: Database,
    job: Job,
    sentence: str,
    reference: str | None = None,
    *,
    partly: str | None = None,
    by_input: bool = False,
) -> str:
    """Mark a job failed, with a message.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Holds jobs, campaigns and messages.
    job : Job
        As stored.
    sentence : str
        The reason. Models that the job has already published are added to it.
    reference : str, optional
        Lets the operator find the details of an internal error.
    partly : str, optional
        Replaces the reason if the job has already published a model, because the reason says that
        nothing was published.
    by_input : bool, optional
        A value of the request is wrong. Only those who asked hear it, and trying again cannot help.

    Returns
    -------
    str
        The whole text, as the job row and its message show it.
    """
    text = sentence

    def close(session: Session) -> bool:
        nonlocal text
        models = surviving_models(session, job)
        text = " ".join([partly if partly and models else sentence, *models])
        is_ours = _close(session, job, "failed", error=text, reference=reference)
        if is_ours and job.channel:
            show_failed(session, settings, _fresh(session, job), by_input=by_input)
        elif is_ours and job.args.get("view_id"):
            show_failed_view(session, settings, job, text)
        if is_ours and job.kind in ("campaign_send", "campaign_deliver"):
            campaign_id = job.args["campaign_id"]
            if session.get(Campaign, campaign_id):  # else the job would fail to fail, for ever
                refresh_card(session, settings, campaign_id)
        return is_ours

    _committed(database, job.id, close, _ended(job, "failed"))
    return text


def cancel(settings: Settings, database: Database, job: Job, by: str | None = None) -> bool:
    """Mark a cancelled job as ended.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Holds jobs, campaigns and messages.
    job : Job
        As stored.
    by : str, optional
        Cancels the job in this person's name (Ctrl-C in the terminal), with or without a request.

    Returns
    -------
    bool
        False if the lease is lost or the job was not cancelled.
    """

    def close(session: Session) -> bool:
        condition = () if by else (Job.cancel_at.is_not(None),)
        extra = {"cancel_at": clock.wall(), "cancelled_by": by} if by else {}
        updated = session.execute(
            update(Job)
            .where(Job.id == job.id, Job.state == "running", Job.attempt == job.attempt, *condition)
            .values(state="cancelled", finished_at=clock.wall(), lease_until=None, **extra)
        )
        if updated.rowcount and job.channel:  # type: ignore[attr-defined]
            show_cancelled(session, settings, _fresh(session, job))
        return bool(updated.rowcount)  # type: ignore[attr-defined]

    return _committed(database, job.id, close, _ended(job, "cancelled"))


@contextmanager
def isolated(
    session: Session,
    settings: Settings,
    what: str,
    *,
    channel: str | None,
    thread_key: str | None = None,
) -> Iterator[None]:
    """Isolate one due step and report its failure.

    A failed step is undone and logged, and reported once a day. The next tick tries it again. Other
    steps in the caller's transaction go on.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    what : str
        Name of the step, in the log and (with the day) in the key of the report.
    channel : str or None
        Where a failure is reported. Without a channel it is only logged.
    thread_key : str, optional
        Outbox key of the thread for the report.

    Raises
    ------
    OperationalError
        The database is down, which is no fault of the step.
    """
    try:
        with session.begin_nested():
            yield
    except OperationalError:
        raise
    except Exception as error:
        reference = new_reference()
        log.exception("%s is due and failed; reference %s", what, reference)
        reason = (
            str(error)
            if isinstance(error, Refused)
            else gettext("Something went wrong on our side.")
        )
        key = f"due:{what}:{clock.now().astimezone(settings.zone):%Y-%m-%d}"
        if outbox.channel_of(session, key) is None:
            report = Post(
                "job/due", {"why": reason, "reference": reference}, key=key, thread_key=thread_key
            )
            outbox.put(session, settings, report, default_channel=channel)


def new_reference() -> str:
    """Return a short reference to a logged traceback."""
    return secrets.token_hex(4).upper()


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


def _close(session: Session, job: Job, state: str, **values: Any) -> bool:
    """End a job that belongs to this attempt."""
    updated = session.execute(
        update(Job)
        .where(*_running(job.id, job.attempt))
        .values(state=state, finished_at=clock.wall(), lease_until=None, **values)
    )
    return bool(updated.rowcount)  # type: ignore[attr-defined]


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
    close: Callable[[Session], bool],
    was_made: Callable[[Job], bool | None],
) -> bool:
    """Commit, and retry while the database is down.

    Parameters
    ----------
    database : Database
        The database.
    job_id : str
        Id of the job.
    close : callable
        Writes in the transaction and returns whether the fence let it.
    was_made : callable
        Called after a commit without an answer. Returns whether the stored row shows that commit.
        None or False means to commit again.

    Returns
    -------
    bool
        Whether the commit was made.
    """
    until = time.monotonic() + _PATIENCE
    is_uncertain = False
    while True:
        try:
            with database.transaction() as session:
                if (
                    is_uncertain
                    and (now := session.get(Job, job_id))
                    and (committed := was_made(now)) is not None
                ):
                    return committed
                return close(session)
        except DBAPIError as error:
            is_down = error.connection_invalidated or type(error).__name__ in (
                "OperationalError",
                "InterfaceError",
            )
            if not is_down or time.monotonic() > until:
                raise
            log.warning("job %s: the database is away (%s); trying again", job_id, error.orig)
            is_uncertain = True
            time.sleep(1)


def _fresh(session: Session, job: Job) -> Job:
    return session.get_one(Job, job.id, populate_existing=True)


def _publish(session: Session, settings: Settings, job: Job, posts: Sequence[Post]) -> None:
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
        _put(session, settings, job, post, key)
    if shown_in is not None and not replaced:
        show_done(session, settings, _fresh(session, job))


def _put(session: Session, settings: Settings, job: Job, post: Post, key: str) -> None:
    thread = post.thread_key if post.key or post.thread_key else job.thread_key
    keyed = replace(post, key=key, thread_key=thread)
    outbox.put(session, settings, keyed, default_channel=job.channel, job_id=job.id)
