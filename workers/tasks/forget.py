"""Erase a customer everywhere, and replace what Slack shows of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from workers.delivery import outbox
from workers.requests import Forget
from workers.tasks.contract import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.privacy.redaction import Names


def run(request: Forget, context: Context) -> Outcome:
    """From the lake and the quarantine at once, from SQL in the transaction that finishes the job. It may run twice.

    Jobs and messages come first, and last once more for those that were under way: an address is known while the lake
    has it.
    """
    from retention.campaigns.states import record
    from retention.lake import Lake
    from retention.privacy import erased, erasure
    from retention.privacy.redaction import Names

    settings, who, now = context.settings, context.requested_by, context.business_at
    lake = Lake.open(settings)
    linked = erasure.ids_of(lake, request.customer_id)
    with context.database.reading() as session:
        ids = sorted({*linked, *erasure.ids_in_directory(session, settings, linked)})
    contacts = erasure.contact_of(lake, ids)
    names = Names.of(settings, ids, contacts)
    with context.database.transaction() as session:
        erased.remember(session, settings, ids, who, now)  # first: no import that runs now brings them back
        _scrub(session, context, names, ids)
    context.progress(1, 4, "Erasing from the quarantine")
    quarantined = erasure.from_quarantine(lake, settings, [*ids, *contacts])
    context.progress(2, 4, "Erasing from the lake")
    gone = {**erasure.from_lake(lake, ids), "quarantine": quarantined}
    rows_gone = {name: number for name, number in gone.items() if number}
    data = {"ids": len(ids), "erased": rows_gone}

    def apply(session: Session) -> tuple[Post, ...]:
        rows = erasure.from_sql(session, settings, ids)
        rows_gone.update({name: number for name, number in rows.items() if number})
        _scrub(session, context, names, ids)
        erasure.forget_question(session, context.job_id)
        record(session, settings, who, "customer.forget", f"job {context.job_id}", now, {"rows": rows_gone})
        return (Post("bot/forgotten", {"number_of_ids": len(ids), "erased": rows_gone}),)

    return Outcome(data, apply=apply)


def _scrub(session: Session, context: Context, names: "Names", ids: Sequence[str]) -> None:
    """Jobs and messages about the customer say "erased"; others go on without what names them."""
    from retention.privacy import erasure

    settings = context.settings
    asked = [one for one in erasure.jobs_about(session, settings, ids) if one != context.job_id]
    for key, channel in erasure.posts_about(session, settings, asked):
        outbox.put(session, settings, Post("bot/erased", {}, key=key), default_channel=channel)
    erasure.scrub_jobs(session, asked)
    named = erasure.redact_jobs(session, settings, names)
    for key, channel, payload in erasure.redacted_posts(session, settings, names, named):
        if payload["blocks"]:
            outbox.replace(session, key, payload)
        else:
            outbox.put(session, settings, Post("bot/erased", {}, key=key), default_channel=channel)
    erasure.drop_files(session, settings, names)
