"""`run`: run the processes of a small installation."""

import click

from bot.commands.parameters import choice, option
from bot.commands.tree import Answer, Call, command
from retention.text import gettext
from workers.app import QUEUES

PROCESSES = ("bot", "worker", "tick", "sender", "live")


@command("run", role="admin", starts_processes=True)
@click.argument(
    "what", type=choice("all", *PROCESSES), default="all", metavar="[all|bot|worker|tick|sender]"
)
@option(
    "--queue",
    gettext(
        "For a worker: serve only this queue. Without it one worker serves all queues, one job "
        "at a time, so a training delays every other job."
    ),
    choice(*QUEUES),
)
def COMMAND(call: Call, what: str, queue: str | None) -> Answer:
    """Run the processes until Ctrl-C."""
    from bot.http import server
    from retention.db.migrate import upgrade
    from workers.queue import supervisor

    upgrade(call.settings)
    if what != "sender":  # which has no key of its own
        _ = call.settings.key  # a missing one stops the start with a sentence
    if what == "all" and not server.missing_configuration(call.settings):
        server.check_ports(call.settings)  # the bot would start again and again
    supervisor.run(call.settings, roles=PROCESSES if what == "all" else (what,), queue=queue)
    return Answer("bot/stopped")
