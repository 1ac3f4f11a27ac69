"""Report data quality with counts and shares only."""

from workers.requests import DataQuality
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: DataQuality, context: Context) -> Outcome:
    """Make the quality report.

    Parameters
    ----------
    request : DataQuality
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        A message with a table, and the page with its charts in the thread.
    """
    from retention.lake import Lake
    from retention.reports.quality import report

    settings = context.settings
    quality = report(Lake.open(settings), context.database, settings, progress=context.progress)
    name = f"data-quality-{quality.data['as_of'][:10]}.html"
    page = Attachment(name, "text/html", quality.html(settings).encode())
    message = f"job:{context.job_id}"
    posts = (
        Post("data/quality", quality.data),
        Post("data/report", quality.data, key=f"{message}:report", thread_key=message, file=page),
    )
    return Outcome(quality.data, posts)
