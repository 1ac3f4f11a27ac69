"""Send a cohort's customers as a file.

The thread shows the recipient and the number of rows.
"""

import json

from sqlalchemy import select

from retention import clock
from retention.csv_text import to_csv
from retention.db.tables import Outbox
from retention.errors import BadInput
from retention.lake import Lake
from retention.privacy import pseudonym
from retention.risk.reasons import LISTED, stored_sentence
from retention.text import gettext
from workers.campaigns.decisions import find_cohort
from workers.job_requests import CohortCsv
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: CohortCsv, context: Context) -> Outcome:
    """Join the cohort's scores with names and send them."""
    settings = context.settings
    with context.database.reading() as session:
        cohort = find_cohort(session, request.cohort_id)
        thread = f"job:{cohort.job_id}"
        channel = session.scalar(select(Outbox.channel).where(Outbox.key == thread))
    lake = Lake.open(settings)
    context.progress(0, 1, gettext("Reading the cohort"))
    scores = lake.all_scores(cohort.run_id)
    listed = scores.filter(scores.list_rank.notnull())
    if not listed.count().execute():  # lists of earlier versions are all customers of their tiers
        listed = scores.filter(scores.tier.isin(cohort.tiers))
    people = lake.table("customers").select("customer_id", "email", "name")
    frame = listed.left_join(people, "customer_id").execute()
    if frame.empty:
        raise BadInput(
            gettext("The scores of this list are gone; run `/retention sweep` for a new list.")
        )
    frame = frame.assign(
        pseudonym=[pseudonym(settings.key, customer) for customer in frame.customer_id],
        at_stake=frame.churn_probability * frame.expected_value,
        reasons=[
            _reason_text(reasons, tier if cohort.tiers else LISTED)
            for reasons, tier in zip(frame.reasons, frame.tier, strict=True)
        ],
    ).sort_values(["list_rank", "at_stake"], ascending=[True, False])
    columns = [
        "customer_id",
        "pseudonym",
        "name",
        "email",
        "tier",
        "churn_probability",
        "expected_value",
        "lost_margin",
        "reasons",
        "next_order_at",
    ]
    file = Attachment(
        f"cohort-{cohort.id}.csv",
        "text/csv",
        to_csv(frame[columns]),
        gettext("Cohort {cohort}").format(cohort=cohort.id),
        sensitive=True,
    )
    data = {
        "cohort_id": cohort.id,
        "rows": len(frame),
        "by": context.requested_by,
        "at": clock.now().isoformat(),
    }
    posts = [
        Post(
            "sweep/file",
            data,
            key=f"cohort-file:{context.job_id}",
            file=file,
            channel=context.channel and context.requested_by,
        ),
        Post("sweep/file_sent", data, channel=context.channel and context.requested_by),
    ]
    if channel and channel != context.requested_by:
        posts.append(
            Post(
                "sweep/taken",
                data,
                key=f"cohort-taken:{context.job_id}",
                channel=channel,
                thread_key=thread,
            )
        )
    return Outcome(data, tuple(posts))


def _reason_text(reasons: str | list, tier: str) -> str:
    listed = json.loads(reasons) if isinstance(reasons, str) else reasons
    return stored_sentence(listed, tier)
