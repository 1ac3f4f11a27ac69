"""`data`: what is in the lake, and how good it is."""

from bot.commands.tree import TERMINAL, Answer, Call, command
from bot.health import data


@command("data", role="analyst")
def COMMAND(call: Call) -> Answer:
    """What has been imported, how fresh it is, and (in the terminal) how good."""
    services = call.services
    if call.surface == TERMINAL:
        from retention.lake import Lake
        from retention.lake.quality import quality

        return Answer("bot/quality", quality(Lake.open(services.settings), services.settings))
    with services.database.reading() as session:
        return Answer("bot/data", data(session, services.settings))
