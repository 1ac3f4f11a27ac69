"""Report whether campaigns keep what their drafts promise."""

from retention.reports.promises import report
from workers.requests import PromisesReport
from workers.tasks.interface import Context, Outcome, Post


def run(request: PromisesReport, context: Context) -> Outcome:
    """Compare all forecasts with their results."""
    with context.database.reading() as session:
        data = report(session)
    return Outcome(data, (Post("report/promises", data),))
