"""Post the weekly digest, with aggregates only."""

from workers.requests import Digest
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: Digest, context: Context) -> Outcome:
    """Make the digest of the past week.

    Parameters
    ----------
    request : Digest
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        A message with a chart. The chosen sections and the page are in its thread.
    """
    from retention.lake import Lake
    from retention.reports.digest import digest

    settings = context.settings
    digest_page = digest(
        Lake.open(settings),
        context.database,
        settings,
        as_of=request.as_of,
        progress=context.progress,
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
    return Outcome(digest_page.data, posts)
