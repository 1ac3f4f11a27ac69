"""Find jobs, messages and files about a customer, and redact them."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Text, case, cast, or_, select, update

from retention.db import Transaction
from retention.db.tables import File, Job, Outbox
from retention.privacy.redaction import ERASED, CustomerNames

if TYPE_CHECKING:
    from sqlalchemy import Update


def jobs_about(session: Transaction, ids: Sequence[str]) -> list[str]:
    """Return the jobs with the customer as argument.

    Their kinds are score, recommend and forget.
    """
    conditions = [Job.args[name].as_string().in_(ids) for name in ("customer_id", "merged")]
    about = session.own(Job).where(or_(*conditions))
    return list(session.scalars(about.with_only_columns(Job.id)))


def posts_about(session: Transaction, job_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the messages with these jobs' results."""
    keys = [f"job:{job_id}" for job_id in job_ids]
    rows = session.own(Outbox).where(or_(Outbox.job_id.in_(job_ids), Outbox.key.in_(keys)))
    return list(session.execute(rows.with_only_columns(Outbox.key, Outbox.channel)).tuples())


def scrub_jobs(session: Transaction, job_ids: Sequence[str]) -> None:
    """Delete arguments, results and error texts of these jobs."""
    error = case((Job.error.is_not(None), ERASED))
    values = {"args": {"customer_id": ERASED}, "request_key": None, "result": None, "error": error}
    session.change(update(Job).where(Job.id.in_(job_ids)).values(values))


def jobs_mentioning(
    session: Transaction, names: CustomerNames, since: datetime | None = None
) -> list[str]:
    """Return other jobs that may name the customer.

    The name may be in the result or in the error.

    `since`: only jobs that ended at or after this time.
    """
    text = or_(names.may_mention(Job.result), names.may_mention(Job.error))
    found = select(Job.id).where(Job.team_id == session.settings.team_id, text)
    return list(session.scalars(found if since is None else found.where(Job.finished_at >= since)))


def redacted_job(session: Transaction, names: CustomerNames, job_id: str) -> "Update | None":
    """Build the update that redacts a job.

    It removes the customer from the job's result and error.

    A result may have 18 MB, so this takes seconds. The statement changes nothing if the job was
    updated meanwhile.
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


def posts_mentioning(session: Transaction, names: CustomerNames) -> list[str]:
    """Return keys of messages that may name the customer."""
    posts = session.own(Outbox, kind="message").where(names.may_mention(Outbox.payload))
    return list(session.scalars(posts.with_only_columns(Outbox.key)))


def redacted_posts(
    session: Transaction, names: CustomerNames, which: ColumnElement[bool]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return redacted messages that named the customer.

    `which`: condition on the outbox. Its rows are locked.
    """
    rows = select(Outbox.key, Outbox.channel, Outbox.payload).where(Outbox.kind == "message", which)
    changed = []
    for key, channel, payload in session.execute(rows.order_by(Outbox.id).with_for_update()):
        without = names.redact(payload)
        if without != payload:
            changed.append((key, channel, without))
    return changed


def files_mentioning(
    session: Transaction, names: CustomerNames, since: datetime | None = None
) -> list[str]:
    """Return unsent CSV files that name the customer.

    `since`: only files created at or after this time.
    """
    files = session.own(File, sensitive=True).where(File.content.is_not(None))
    if since is not None:
        files = files.where(File.created_at >= since)
    return [
        file_id
        for file_id, content in session.execute(files.with_only_columns(File.id, File.content))
        if names.is_listed_in((content or b"").decode("utf-8-sig", "replace"))
    ]


def scrub_own_job(session: Transaction, job_id: str, result: dict[str, Any]) -> None:
    """Delete the customer's id from the erasing job, and store what it has erased."""
    values = {"args": {"customer_id": ERASED}, "request_key": None, "result": result}
    session.change(update(Job).where(Job.id == job_id).values(values))
