"""Import the demo's next days."""

from workers.requests import DemoFeed
from workers.tasks.interface import Context, Outcome


def run(request: DemoFeed, context: Context) -> Outcome:
    """Import events and simulated responses before ``until``.

    Posts nothing. The clock on the page shows the new time.

    Parameters
    ----------
    request : DemoFeed
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts of imported rows.
    """
    from retention.demo import feed
    from retention.lake import Lake

    lake = Lake.open(context.settings)
    return Outcome(feed(context.settings, context.database, lake, request.until, context.progress))
