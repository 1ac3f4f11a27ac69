"""Report the performance of recommendations, without identities."""

from retention.lake import Lake
from retention.reports.recommendations import report
from workers.requests import RecommendReport
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: RecommendReport, context: Context) -> Outcome:
    """Make the recommendation report."""
    settings = context.settings
    report_page = report(
        Lake.open(settings),
        context.database,
        days=request.days,
        as_of=request.as_of,
        progress=context.progress,
    )
    chart = report_page.chart
    picture = Attachment("recommendations.png", "image/png", chart.png, chart.alt_text)
    page = Attachment(
        f"recommendations-{report_page.data['as_of'][:10]}.html",
        "text/html",
        report_page.html(settings).encode(),
    )
    message = f"job:{context.job_id}"
    posts = (
        Post(
            "report/recommend",
            {**report_page.data, "alt_text": chart.alt_text},
            images={"rates": picture},
        ),
        Post(
            "report/page", report_page.data, key=f"{message}:report", thread_key=message, file=page
        ),
    )
    return Outcome(report_page.data, posts)
