"""The playground: a local page that speaks Slack's own protocol to the same bot.

`main` is what ``retention demo`` calls. `bot.playground.server.StandIn` is Slack at the wire for the tests: the same
Web API, limits and errors, without the demo, the page or any data.
"""

from retention.settings import Settings


def main(settings: Settings) -> None:
    """Prepare the demo, run every process, serve the page, and stop all of it on Ctrl-C or SIGTERM."""
    from bot.playground.demo import main as run

    run(settings)
