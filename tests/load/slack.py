"""A fake Slack as a process of its own, with as many people and channels as the load has.

It keeps its messages in a file, in which they are counted at the end.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from bot.playground import seed
from bot.playground.server import Slack, server
from tests.load.mix import channels, people


def main(port: str, store: str) -> None:
    """Serve until SIGTERM."""
    analyst = seed.EVERYONE["U0ANALYST"]
    for user in people():
        seed.EVERYONE[user] = replace(analyst, id=user, handle=user.lower())
    slack = Slack(int(port), store=Path(store), strict=True)
    workspace = slack.workspace
    of_teams = [seed.Channel(name, name.lower(), members=(seed.BOT_USER,)) for name in channels()]
    direct = [
        seed.Channel(f"D{user[1:]}", f"@{user.lower()}", members=(user, seed.BOT_USER), im_of=user)
        for user in people()
    ]
    for channel in (*of_teams, *direct):
        workspace.channels.setdefault(channel.id, channel)
        workspace.messages.setdefault(channel.id, {})
    asyncio.run(server(slack.app(), int(port)).serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
