"""Erase a customer and update the messages about them."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any

from retention import clock, erasure
from retention.connect.platforms import profile_deletion
from retention.data_subject import certificate
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import File, Outbox
from retention.lake import Lake
from retention.privacy import erased, leftovers, mentions
from retention.privacy.redaction import CustomerNames
from retention.service import store as chats
from retention.text import gettext
from workers.delivery import outbox
from workers.job_requests import Forget
from workers.queue import jobs
from workers.tasks.interface import Attachment, Context, Outcome, Post

Sessions = Callable[[], AbstractContextManager[Transaction]]
_ERASED_MEANWHILE = gettext(
    "A customer was erased meanwhile, whom this may name; nothing was published. Please ask again."
)
_COMMIT_DELAY = timedelta(minutes=1)  # longest time from a job's end time to its commit


def run(request: Forget, context: Context) -> Outcome:
    """Erase a customer from all stores; may run twice.

    The stores are the quarantine, the lake, SQL, and the directory in the final transaction. Jobs
    and messages come first, and again at the end if they ended since, because an address is only
    known while the lake has it. If there was anything to erase, open jobs that may have read it
    restart after lake and SQL are clean. Jobs that begin later have read nothing of the customer.
    """
    settings, user, now = context.settings, context.requested_by, context.business_at
    lake = Lake.open(settings)
    asked = (request.customer_id, *request.more_ids)
    with context.database.reading() as session:
        ids = erasure.all_ids(lake, session, asked)
    contacts = erasure.contact_details(lake, ids)
    names = CustomerNames.of(settings, ids, contacts)
    ended_since = clock.wall() - _COMMIT_DELAY
    with context.database.reading() as session:
        profiles = profile_deletion.plan(
            session, context.job_id, ids, lambda some: erasure.contact_details(lake, some)
        )
    with context.database.transaction() as session:
        # First, because a running import could bring them back.
        erased.record_erased(session, ids, user, now)
        session.add_all(profiles)
    _scrub(context, names, ids, context.database.reading, context.database.transaction)
    context.progress(1, 4, gettext("Erasing from the quarantine"))
    quarantined = erasure.erase_from_quarantine(lake, settings, [*ids, *contacts])
    context.progress(2, 4, gettext("Erasing from the lake"))
    # First, because a second attempt reads no contacts once the customer's rows are gone.
    searches = erasure.erase_from_searches(lake, contacts)
    erased_rows = Counter({**erasure.erase_from_lake(lake, ids), "quarantine": quarantined})
    erased_rows["searches"] = searches
    with context.database.transaction() as session:
        # An earlier attempt may have erased before it died. This comes first: no running job may
        # end from here on.
        if context.attempt > 1 or erased_rows.total() or erasure.remaining_rows(session, ids):
            jobs.restart_running(session, _ERASED_MEANWHILE)
        erased_rows.update(erasure.erase_from_sql(session, ids))
    late_rows = Counter(erasure.erase_from_lake(lake, ids))  # rows of jobs that ended since
    context.progress(3, 4, gettext("Erasing from files and earlier versions"))
    erased_rows["old_versions"] = erasure.erase_from_old_versions(lake, ids, contacts)
    erased_rows.update(leftovers.erase_from_files(settings, names))
    with context.database.reading() as session:
        texts = leftovers.redacted_texts(session, names)
    with context.database.transaction() as session:
        erased_rows["texts"] = sum(session.change(each) for each in texts)
    platforms = _ask_platforms(context, asks=not request.more_ids)
    data: dict[str, Any] = {"ids": len(ids), "erased": dict(erased_rows + late_rows)}
    data["platforms"] = platforms

    def apply(session: Transaction) -> tuple[Post, ...]:
        if late_rows.total():
            # Jobs that began since may have read those rows.
            jobs.restart_running(session, _ERASED_MEANWHILE)
        directory_rows = erasure.erase_from_directory(session, ids)
        final_rows = Counter({**erasure.erase_from_sql(session, ids), "directory": directory_rows})
        rows = dict(erased_rows + late_rows + final_rows)
        here = lambda: nullcontext(session)  # noqa: E731
        _scrub(context, names, ids, here, here, ended_since)
        record(session, user, "customer.forget", f"job {context.job_id}", now, {"rows": rows})
        signed = certificate.issue(settings.keys, ids, rows, platforms, by=user, at=now)
        data["certificate"] = signed
        mentions.scrub_own_job(session, context.job_id, data)
        values = {"number_of_ids": len(ids), "erased": rows, "platforms": platforms}
        if context.channel is None:
            return (Post("bot/forgotten", values),)
        message = f"job:{context.job_id}"
        content = json.dumps(signed, indent=1).encode()
        name = f"erasure-{context.job_id}.json"
        file = Attachment(name, "application/json", content)
        issued = Post("bot/certificate", {}, f"{message}:file", thread_key=message, file=file)
        return (Post("bot/forgotten", values), issued)

    return Outcome(data, apply=apply, after_commit=context.database.truncate_log)


def _ask_platforms(context: Context, *, asks: bool) -> list[dict[str, Any]]:
    """Have mail platforms delete the profiles, once; the tick asks those again that did not.

    ``asks`` is false for a shop that erases all of its customers: that would take too long here.
    """
    database = context.database
    with database.reading() as session:
        planned = profile_deletion.of_job(session, context.job_id)
    for each in planned if asks else ():
        if each["state"] == profile_deletion.WAITING:
            answer = profile_deletion.ask(database, each["id"])
            with database.transaction() as session:
                profile_deletion.conclude(session, each["id"], answer, context.requested_by)
    with database.reading() as session:
        return profile_deletion.of_job(session, context.job_id)


def _scrub(
    context: Context,
    names: "CustomerNames",
    ids: Sequence[str],
    reading: Sessions,
    writing: Sessions,
    since: datetime | None = None,
) -> None:
    """Erase the customer from jobs and messages.

    Jobs and messages about the customer show "erased". Others lose the parts that name the
    customer. Long reads happen outside of write transactions, and results are written job by job.
    """
    with writing() as session:
        job_ids = [job for job in mentions.jobs_about(session, ids) if job != context.job_id]
        own_posts = chats.post_keys(session, ids)
        for key, channel in (*mentions.posts_about(session, job_ids), *own_posts):
            outbox.put(session, Post("bot/erased", {}, key=key), default_channel=channel)
        mentions.scrub_jobs(session, job_ids)
    with reading() as session:
        naming_jobs = mentions.jobs_mentioning(session, names, since)
    for job_id in naming_jobs:
        while not _redacted(job_id, names, reading, writing):
            pass  # another process wrote it meanwhile
    with reading() as session:
        keys = mentions.posts_mentioning(session, names)
        files = mentions.files_mentioning(session, names, since)
    with writing() as session:
        _replace_posts(session, mentions.redacted_posts(session, names, Outbox.key.in_(keys)))
        outbox.drop_sensitive_content(session, File.id.in_(files))


def _redacted(job_id: str, names: "CustomerNames", reading: Sessions, writing: Sessions) -> bool:
    """Redact one job's result. Returns False if it changed before it was written."""
    with reading() as session:
        redacted = mentions.redacted_job(session, names, job_id)
    if redacted is None:
        return True
    with writing() as session:
        return bool(session.change(redacted))


def _replace_posts(session: Transaction, posts: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """Replace these messages; one without blocks shows "erased"."""
    for key, channel, payload in posts:
        if payload["blocks"]:
            outbox.replace(session, key, payload)
        else:
            outbox.put(session, Post("bot/erased", {}, key=key), default_channel=channel)
