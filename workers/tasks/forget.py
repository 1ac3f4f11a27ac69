"""Erase a customer everywhere, and replace what Slack shows of them."""

from sqlalchemy.orm import Session

from workers.delivery import outbox
from workers.requests import Forget
from workers.tasks.contract import Context, Outcome, Post


def run(request: Forget, context: Context) -> Outcome:
    """From the lake and the quarantine at once, from SQL in the transaction that finishes the job. It may run twice."""
    from retention.campaigns.states import record
    from retention.lake import Lake
    from retention.privacy import erased, erasure

    settings, who, now = context.settings, context.requested_by, context.business_at
    lake = Lake.open(settings)
    ids = erasure.ids_of(lake, request.customer_id)
    with context.database.transaction() as session:
        erased.remember(session, settings, ids, who, now)  # first: no import that runs now brings them back
    context.progress(1, 4, "Erasing from the quarantine")
    told = [*ids, *erasure.contact_of(lake, ids)]
    quarantined = erasure.from_quarantine(lake, settings, told)
    context.progress(2, 4, "Erasing from the lake")
    gone = {**erasure.from_lake(lake, ids), "quarantine": quarantined}
    rows_gone = {name: number for name, number in gone.items() if number}
    data = {"ids": len(ids), "erased": rows_gone}

    def apply(session: Session) -> tuple[Post, ...]:
        rows = erasure.from_sql(session, settings, ids)
        rows_gone.update({name: number for name, number in rows.items() if number})
        jobs = erasure.jobs_about(session, settings, ids)
        others = [job_id for job_id in jobs if job_id != context.job_id]
        for key, channel in erasure.posts_about(session, settings, others):
            outbox.put(session, settings, Post("bot/erased", {}, key=key), default_channel=channel)
        erasure.scrub_jobs(session, others)
        erasure.forget_question(session, context.job_id)
        record(session, settings, who, "customer.forget", f"job {context.job_id}", now, {"rows": rows_gone})
        return (Post("bot/forgotten", {"number_of_ids": len(ids), "erased": rows_gone}),)

    return Outcome(data, apply=apply)
