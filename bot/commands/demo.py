"""`demo`: run the product in a browser without a Slack workspace."""

from bot.commands.tree import Answer, Call, command


@command("demo", role="admin", starts_processes=True)
def COMMAND(call: Call) -> Answer:
    """Run the playground."""
    from bot import playground

    playground.main(call.settings)
    return Answer("bot/stopped")
