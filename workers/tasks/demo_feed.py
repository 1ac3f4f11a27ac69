"""Import the demo's history, or its next days."""

from workers.requests import DemoFeed
from workers.tasks.interface import Context, Outcome


def run(request: DemoFeed, context: Context) -> Outcome:
    """Import events and simulated responses before ``until``, and post nothing."""
    from retention.demo import feed, prepare
    from retention.lake import Lake

    settings, database = context.settings, context.database
    if request.until is None:
        return Outcome(prepare(settings, database, context.progress))
    lake = Lake.open(settings)
    return Outcome(feed(settings, database, lake, request.until, context.progress))
