"""How a job ends: done, failed or cancelled, in one transaction fenced by its attempt.

Results, lake runs, the task's own SQL and every message are committed together with the state, or not at all. A
worker whose lease was taken over changes nothing: its attempt is no longer the job's.

A task with several independent results publishes each one with `publish_part` as soon as it is ready. What is published
stays, also when the rest of the job fails.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from retention import clock
from retention.db import Database
from retention.db.tables import Job, Run
from retention.errors import Cancelled, Refused
from retention.settings import Settings
from workers import jobs
from workers.delivery import outbox
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds in which a database that restarts may come back


def complete(settings: Settings, database: Database, job: Job, outcome: Outcome) -> None:
    """Publish what a task came to.

    Raises
    ------
    Cancelled
        The job was cancelled, or its lease taken over: nothing was published.
    Refused
        From ``outcome.apply``: nothing was published; the caller fails the job with the sentence.
    """

    def close(session: Session) -> bool:
        won = _close(session, job, "done", result=to_json(outcome.data))
        if won:
            if outcome.runs:
                run_id = f"{job.id}-{job.attempt}"
                tables = ",".join(outcome.runs)
                session.add(
                    Run(run_id=run_id, job_id=job.id, table_name=tables, team_id=job.team_id)
                )
            later = (outcome.apply(session) if outcome.apply else None) or ()
            _publish(session, settings, job, (*outcome.posts, *later))
        return won

    if not _committed(database, job.id, close, _ended(job, "done")):
        raise Cancelled


def publish_part(
    context: Context, result: dict[str, Any], apply: Callable[[Session], None]
) -> None:
    """Commit one finished part of a running job, fenced by the attempt.

    Parameters
    ----------
    context : Context
        Of the attempt that did the work.
    result : dict
        The job's result up to now. The job row keeps it, so that a later attempt can continue after this part.
    apply : callable
        Writes the part; runs in the same transaction.

    Raises
    ------
    Cancelled
        The job was cancelled, or another attempt has taken it over. Nothing was written.
    """
    stored = to_json(result)

    def write(session: Session) -> bool:
        won = session.execute(
            update(Job).where(*_running(context.job_id, context.attempt)).values(result=stored)
        )
        if not won.rowcount:  # type: ignore[attr-defined]
            return False
        apply(session)
        return True

    def written(now: Job) -> bool | None:
        return True if now.attempt == context.attempt and now.result == stored else None

    if not _committed(context.database, context.job_id, write, written):
        raise Cancelled


def fail(
    settings: Settings,
    database: Database,
    job: Job,
    sentence: str,
    reference: str | None = None,
    *,
    partly: str | None = None,
) -> str:
    """End a job with a sentence for the person.

    Parameters
    ----------
    sentence : str
        The reason. Models that the job has already published are added to it.
    reference : str, optional
        Lets the operator find the details, for an error that is not the person's.
    partly : str, optional
        Replaces the reason if the job has already published a model, where the reason says that nothing was published.

    Returns
    -------
    str
        The whole text, as the job row and its message show it.
    """
    text = sentence

    def close(session: Session) -> bool:
        nonlocal text
        models = jobs.published_models(session, job)
        text = " ".join(
            [partly if partly and models else sentence, *map(jobs.surviving_model_sentence, models)]
        )
        won = _close(session, job, "failed", error=text, reference=reference)
        if won and job.channel:
            jobs.show_failed(session, settings, _fresh(session, job))
        return won

    _committed(database, job.id, close, _ended(job, "failed"))
    return text


def cancel(settings: Settings, database: Database, job: Job, by: str | None = None) -> bool:
    """End a job somebody cancelled; False where it is not ours any more (a lost lease) or was not cancelled.

    With ``by`` it is cancelled in their name (Ctrl-C in the terminal), asked for or not.
    """

    def close(session: Session) -> bool:
        asked = () if by else (Job.cancel_at.is_not(None),)
        extra = {"cancel_at": clock.wall(), "cancelled_by": by} if by else {}
        won = session.execute(
            update(Job)
            .where(Job.id == job.id, Job.state == "running", Job.attempt == job.attempt, *asked)
            .values(state="cancelled", finished_at=clock.wall(), lease_until=None, **extra)
        )
        if won.rowcount and job.channel:  # type: ignore[attr-defined]
            jobs.show_cancelled(session, settings, _fresh(session, job))
        return bool(won.rowcount)  # type: ignore[attr-defined]

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
    """Do one due thing within the caller's transaction, so that its failure is nobody else's.

    Parameters
    ----------
    what : str
        Its name: in the log, and (with the day) what the failure is told once by.
    channel, thread_key : str or None
        Where its failure is told; without a channel in the log alone.

    Raises
    ------
    OperationalError
        The database is away, which is no fault of the thing.
    """
    try:
        with session.begin_nested():
            yield
    except OperationalError:
        raise
    except Exception as error:
        reference = new_reference()
        log.exception("%s is due and failed; reference %s", what, reference)
        why = str(error) if isinstance(error, Refused) else "Something went wrong on our side."
        key = f"due:{what}:{clock.now().astimezone(settings.zone):%Y-%m-%d}"
        if outbox.channel_of(session, key) is None:
            told = Post(
                "job/due", {"why": why, "reference": reference}, key=key, thread_key=thread_key
            )
            outbox.put(session, settings, told, default_channel=channel)


def new_reference() -> str:
    """A short number under which the operator finds the trace."""
    return secrets.token_hex(4).upper()


def to_json(data: Any) -> Any:
    """Make a result JSON: decimals become numbers, moments ISO 8601, numpy's scalars Python's; what is not finite, or no moment, is null.

    Python writes NaN into JSON; PostgreSQL refuses it.
    """

    def other(value: Any) -> Any:
        if isinstance(value, Decimal):
            return float(value)
        if isinstance(value, datetime | date):
            return (
                value.isoformat() if value == value else None
            )  # NaT is a datetime that equals nothing
        if hasattr(value, "item"):
            return value.item()
        raise TypeError(f"{type(value).__name__} in a job's result")

    return json.loads(json.dumps(data, default=other), parse_constant=lambda _: None)


def _close(session: Session, job: Job, state: str, **values: Any) -> bool:
    """The compare-and-set that fences an attempt: ours, still running, not cancelled."""
    won = session.execute(
        update(Job)
        .where(*_running(job.id, job.attempt))
        .values(state=state, finished_at=clock.wall(), lease_until=None, **values)
    )
    return bool(won.rowcount)  # type: ignore[attr-defined]


def _running(job_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return (
        Job.id == job_id,
        Job.state == "running",
        Job.attempt == attempt,
        Job.cancel_at.is_(None),
    )


def _ended(job: Job, state: str) -> Callable[[Job], bool | None]:
    """Tell from the stored row whether this attempt's lost commit was made; None: no commit of this kind was."""
    return lambda now: now.attempt == job.attempt if now.state == state else None


def _committed(
    database: Database,
    job_id: str,
    close: Callable[[Session], bool],
    made: Callable[[Job], bool | None],
) -> bool:
    """Commit, and try again while the database is away.

    Parameters
    ----------
    close : callable
        Writes in the transaction; says whether the fence let it.
    made : callable
        Asked after a commit without an answer: whether the stored row shows that commit. None or False: commit again.
    """
    until = time.monotonic() + _PATIENCE
    doubt = False
    while True:
        try:
            with database.transaction() as session:
                if (
                    doubt
                    and (now := session.get(Job, job_id))
                    and (answer := made(now)) is not None
                ):
                    return answer
                return close(session)
        except DBAPIError as error:
            away = error.connection_invalidated or type(error).__name__ in (
                "OperationalError",
                "InterfaceError",
            )
            if not away or time.monotonic() > until:
                raise
            log.warning("job %s: the database is away (%s); trying again", job_id, error.orig)
            doubt = True
            time.sleep(1)


def _fresh(session: Session, job: Job) -> Job:
    return session.get_one(Job, job.id, populate_existing=True)


def _publish(session: Session, settings: Settings, job: Job, posts: Sequence[Post]) -> None:
    """Write the messages; the first one without a key replaces the progress bar, where it goes to the same place."""
    own = f"job:{job.id}"
    shown_in = outbox.channel_of(session, own)
    replaced = False
    for number, post in enumerate(posts):
        key = post.key
        if key is None:
            here = shown_in is None or (post.channel or job.channel) == shown_in
            fits = here and not replaced and not (post.file and shown_in)
            key = own if fits else f"{own}:{number}"
            replaced = replaced or fits
        _put(session, settings, job, post, key)
    if shown_in is not None and not replaced:
        jobs.show_done(session, settings, _fresh(session, job))


def _put(session: Session, settings: Settings, job: Job, post: Post, key: str) -> None:
    thread = post.thread_key if post.key or post.thread_key else job.thread_key
    named = Post(
        post.template,
        post.values,
        key=key,
        channel=post.channel,
        thread_key=thread,
        images=post.images,
        file=post.file,
    )
    outbox.put(session, settings, named, default_channel=job.channel, job_id=job.id)
