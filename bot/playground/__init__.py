"""Run a local page that imitates Slack.

It speaks Slack's protocol to the real bot. `main` runs the demo.
`bot.playground.server.Slack` is the fake Slack alone: the same Web API, limits and errors,
without the demo, the page or any data.
"""

from retention.settings import Settings


def main(settings: Settings) -> None:
    """Run the demo until Ctrl-C."""
    from bot.playground.demo import main as run

    run(settings)
