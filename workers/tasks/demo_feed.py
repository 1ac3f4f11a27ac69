"""The demo's next days: real events, and simulated answers to campaigns."""

from workers.requests import DemoFeed
from workers.tasks.interface import Context, Outcome


def run(request: DemoFeed, context: Context) -> Outcome:
    """Bring in what happened before ``until``; posts nothing: the clock on the page shows that it is done."""
    from retention.demo import feed
    from retention.lake import Lake

    lake = Lake.open(context.settings)
    return Outcome(feed(context.settings, context.database, lake, request.until, context.progress))
