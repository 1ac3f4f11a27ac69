"""Report the performance of recommendations, without identities."""

from workers.requests import RecommendReport
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: RecommendReport, context: Context) -> Outcome:
    """Make the recommendation report.

    Parameters
    ----------
    request : RecommendReport
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        A message with a chart, and the page in its thread.
    """
    from retention.lake import Lake
    from retention.reports.recommendations import report

    settings = context.settings
    found = report(
        Lake.open(settings),
        context.database,
        settings,
        days=request.days,
        as_of=request.as_of,
        progress=context.progress,
    )
    chart = found.chart
    picture = Attachment("recommendations.png", "image/png", chart.png, chart.alt_text)
    page = Attachment(
        f"recommendations-{found.data['as_of'][:10]}.html",
        "text/html",
        found.html(settings).encode(),
    )
    message = f"job:{context.job_id}"
    posts = (
        Post(
            "report/recommend",
            {**found.data, "alt_text": chart.alt_text},
            images={"rates": picture},
        ),
        Post("report/page", found.data, key=f"{message}:report", thread_key=message, file=page),
    )
    return Outcome(found.data, posts)
