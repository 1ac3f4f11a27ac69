"""`demo`: the whole product in a browser, with no Slack workspace."""

from bot.commands.tree import TERMINAL, Answer, Call, command


@command("demo", role="admin", surfaces=TERMINAL, starts=True)
def COMMAND(call: Call) -> Answer:
    """Try everything in a browser: a real shop's year, a page that speaks Slack's protocol, a time machine."""
    from bot import playground

    playground.main(call.services.settings)
    return Answer("bot/stopped")
