"""Import the demo's history, or its next days."""

from retention.demo import feed, prepare
from retention.lake import Lake
from workers.requests import DemoFeed
from workers.tasks.interface import Context, Outcome


def run(request: DemoFeed, context: Context) -> Outcome:
    """Import events and simulated responses before ``until``, and post nothing."""
    if request.until is None:
        return Outcome(prepare(context.database, context.progress))
    lake = Lake.open(context.settings)
    return Outcome(feed(context.database, lake, request.until, context.progress))
