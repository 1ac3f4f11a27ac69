"""Report whether campaigns keep what their drafts promise."""

from workers.requests import PromisesReport
from workers.tasks.interface import Context, Outcome, Post


def run(request: PromisesReport, context: Context) -> Outcome:
    """Compare all forecasts with their results.

    Parameters
    ----------
    request : PromisesReport
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        A message with one table.
    """
    from retention.reports.promises import report

    with context.database.reading() as session:
        data = report(session, context.settings)
    return Outcome(data, (Post("report/promises", data),))
