"""Post the weekly digest, with aggregates only."""

from datetime import datetime, timedelta
from typing import Any

from retention.lake import Lake
from retention.reports.digest import digest
from workers.customers.audiences import full_name, members_of
from workers.requests import Digest
from workers.tasks.interface import Attachment, Context, Outcome, Post

WEEK = timedelta(days=7)


def run(request: Digest, context: Context) -> Outcome:
    """Make the digest of the past week."""
    settings = context.settings
    digest_page = digest(
        Lake.open(settings), context.database, as_of=request.as_of, progress=context.progress
    )
    picture = Attachment("week.png", "image/png", digest_page.chart.png, digest_page.chart.alt_text)
    page = Attachment(
        f"digest-{digest_page.data['as_of'][:10]}.html",
        "text/html",
        digest_page.html(settings).encode(),
    )
    message = f"job:{context.job_id}"
    values = {**digest_page.data, "sections": request.sections}
    details = (
        (Post("digest/details", values, key=f"{message}:details", thread_key=message),)
        if request.sections
        else ()
    )
    posts = (
        Post(
            "digest/week",
            {**values, "alt_text": digest_page.chart.alt_text},
            images={"week": picture},
        ),
        *details,
        Post(
            "digest/report",
            digest_page.data,
            key=f"{message}:report",
            thread_key=message,
            file=page,
        ),
    )
    if request.audience is None and request.where is None:
        return Outcome(digest_page.data, posts)
    audience = _audience_week(request, digest_page.data["as_of"], context)
    in_thread = Post("audience/week", audience, key=f"{message}:audience", thread_key=message)
    return Outcome({**digest_page.data, "audience": audience}, (*posts, in_thread))


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
