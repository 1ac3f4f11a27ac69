"""Find jobs, messages and files about a customer, and redact them."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Text, case, cast, or_, select, update
from sqlalchemy.orm import Session

from retention.db.tables import File, Job, Outbox
from retention.privacy.redaction import ERASED, CustomerNames
from retention.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Update

_WITHOUT_SYNC = {"synchronize_session": False}


def jobs_about(session: Session, settings: Settings, ids: Sequence[str]) -> list[str]:
    """Return the jobs with the customer as argument.

    Their kinds are score, recommend and forget.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    ids : sequence of str
        All ids of the customer.

    Returns
    -------
    list of str
        Job ids.
    """
    conditions = [Job.args[name].as_string().in_(ids) for name in ("customer_id", "merged")]
    return list(
        session.scalars(select(Job.id).where(Job.team_id == settings.team_id, or_(*conditions)))
    )


def posts_about(
    session: Session, settings: Settings, job_ids: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the messages with these jobs' results.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job_ids : sequence of str
        Ids of the jobs.

    Returns
    -------
    list of tuple[str, str]
        Key and channel of each message.
    """
    keys = [f"job:{job_id}" for job_id in job_ids]
    rows = select(Outbox.key, Outbox.channel).where(
        Outbox.team_id == settings.team_id, or_(Outbox.job_id.in_(job_ids), Outbox.key.in_(keys))
    )
    return list(session.execute(rows).tuples())


def scrub_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """Delete arguments, results and error texts of these jobs.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    job_ids : sequence of str
        Ids of the jobs.
    """
    error = case((Job.error.is_not(None), ERASED))
    session.execute(
        update(Job)
        .where(Job.id.in_(job_ids))
        .values(args={"customer_id": ERASED}, request_key=None, result=None, error=error),
        execution_options=_WITHOUT_SYNC,
    )


def jobs_mentioning(
    session: Session, settings: Settings, names: CustomerNames, since: datetime | None = None
) -> list[str]:
    """Return other jobs that may name the customer.

    The name may be in the result or in the error.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        The installation's.
    names : CustomerNames
        Everything that identifies the customer.
    since : datetime, optional
        Only jobs that ended at or after this time.

    Returns
    -------
    list of str
        Job ids.
    """
    ended = () if since is None else (Job.finished_at >= since,)
    text = or_(names.may_mention(Job.result), names.may_mention(Job.error))
    return list(
        session.scalars(select(Job.id).where(Job.team_id == settings.team_id, *ended, text))
    )


def redacted_job(session: Session, names: CustomerNames, job_id: str) -> "Update | None":
    """Build the update that redacts a job.

    It removes the customer from the job's result and error.

    A result may have 18 MB, so this takes seconds. The statement changes nothing if the job was
    updated meanwhile.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    names : CustomerNames
        Everything that identifies the customer.
    job_id : str
        The job to read.

    Returns
    -------
    Update or None
        None if the job does not name the customer.
    """
    text = cast(Job.result, Text)
    stored, failure = session.execute(select(text, Job.error).where(Job.id == job_id)).one()
    content = json.loads(stored or "null")
    result, error = names.redact(content), names.redact(failure)
    if (result, error) == (content, failure):
        return None
    same = (
        Job.id == job_id,
        text.is_not_distinct_from(stored),
        Job.error.is_not_distinct_from(failure),
    )
    return update(Job).where(*same).values(result=result, error=error)


def posts_mentioning(session: Session, settings: Settings, names: CustomerNames) -> list[str]:
    """Return keys of messages that may name the customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    names : CustomerNames
        Everything that identifies the customer.

    Returns
    -------
    list of str
        Outbox keys.
    """
    conditions = (
        Outbox.team_id == settings.team_id,
        Outbox.kind == "message",
        names.may_mention(Outbox.payload),
    )
    return list(session.scalars(select(Outbox.key).where(*conditions)))


def redacted_posts(
    session: Session, names: CustomerNames, which: ColumnElement[bool]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return redacted messages that named the customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    names : CustomerNames
        Everything that identifies the customer.
    which : ColumnElement
        Condition on the outbox. Its rows are locked.

    Returns
    -------
    list of tuple[str, str, dict]
        Key, channel and redacted payload of each message.
    """
    rows = select(Outbox.key, Outbox.channel, Outbox.payload).where(Outbox.kind == "message", which)
    changed = []
    for key, channel, payload in session.execute(rows.order_by(Outbox.id).with_for_update()):
        without = names.redact(payload)
        if without != payload:
            changed.append((key, channel, without))
    return changed


def files_mentioning(
    session: Session, settings: Settings, names: CustomerNames, since: datetime | None = None
) -> list[str]:
    """Return unsent CSV files that name the customer.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    names : CustomerNames
        Everything that identifies the customer.
    since : datetime, optional
        Only files created at or after this time.

    Returns
    -------
    list of str
        Ids of the files.
    """
    created = () if since is None else (File.created_at >= since,)
    conditions = (
        File.team_id == settings.team_id,
        File.sensitive.is_(True),
        File.content.is_not(None),
        *created,
    )
    return [
        file_id
        for file_id, content in session.execute(select(File.id, File.content).where(*conditions))
        if names.is_listed_in((content or b"").decode("utf-8-sig", "replace"))
    ]


def scrub_own_job(session: Session, job_id: str) -> None:
    """Delete the customer's id from the erasing job.

    The job's result stays.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    job_id : str
        Id of the job.
    """
    session.execute(
        update(Job).where(Job.id == job_id).values(args={"customer_id": ERASED}, request_key=None),
        execution_options=_WITHOUT_SYNC,
    )
