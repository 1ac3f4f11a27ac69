"""Post the weekly digest, with aggregates only."""

from datetime import datetime, timedelta
from typing import Any

from retention.lake import Lake
from retention.privacy import ledger
from retention.reports.digest import digest
from workers.customers.audience_filter import full_name, members_of
from workers.job_requests import Digest
from workers.tasks.interface import Attachment, Context, Outcome, Post, page_post
from workers.tasks.reports import releases

WEEK = timedelta(days=7)


def run(request: Digest, context: Context) -> Outcome:
    """Make the digest of the past week."""
    lake = Lake.open(context.settings)
    week = digest(lake, context.database, as_of=request.as_of, progress=context.progress)
    with context.database.reading() as session:
        is_noisy = ledger.is_on(session) and releases.is_shared(context.channel)
    if is_noisy:
        return Outcome(week.data, (releases.noisy_digest(week.data, context),))
    chart, data, message = week.chart, week.data, f"job:{context.job_id}"
    picture = Attachment("week.png", "image/png", chart.png, chart.alt_text)
    values = {**data, "sections": request.sections}
    posts = [Post("digest/week", {**values, "alt_text": chart.alt_text}, images={"week": picture})]
    if request.sections:
        key = f"{message}:details"
        posts.append(Post("digest/details", values, key=key, thread_key=message))
    posts.append(page_post(context, "digest/report", week, "digest"))
    if request.audience is not None or request.where is not None:
        audience = _audience_week(request, data["as_of"], context)
        data = {**data, "audience": audience}
        key = f"{message}:audience"
        posts.append(Post("audience/week", audience, key=key, thread_key=message))
    return Outcome(data, tuple(posts))


def _audience_week(request: Digest, as_of: str, context: Context) -> dict[str, Any]:
    """Count an audience now and a week before."""
    lake, at = Lake.open(context.settings), datetime.fromisoformat(as_of)
    now, before = (
        members_of(lake, context, request.audience, request.where, moment)
        for moment in (at, at - WEEK)
    )
    return {
        "name": full_name(request.audience, request.where),
        "customers": len(now.customers),
        "customers_before": len(before.customers),
        "new": len(now.customers - before.customers),
        "left": len(before.customers - now.customers),
    }
