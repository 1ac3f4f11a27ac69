"""Report data quality with counts and shares only."""

from retention.lake import Lake
from retention.reports.quality import report
from workers.requests import DataQuality
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: DataQuality, context: Context) -> Outcome:
    """Make the quality report."""
    settings = context.settings
    quality = report(Lake.open(settings), context.database, progress=context.progress)
    name = f"data-quality-{quality.data['as_of'][:10]}.html"
    page = Attachment(name, "text/html", quality.html(settings).encode())
    message = f"job:{context.job_id}"
    posts = (
        Post("data/quality", quality.data),
        Post("data/report", quality.data, key=f"{message}:report", thread_key=message, file=page),
    )
    return Outcome(quality.data, posts)
