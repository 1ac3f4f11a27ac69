"""`run`: run the processes of a small installation."""

import click

from bot.commands.tree import TERMINAL, Answer, Call, choice, command
from retention.text import gettext
from workers.app import QUEUES

PROCESSES = ("bot", "worker", "tick", "sender", "live")


@command(
    "run",
    role="admin",
    surfaces=TERMINAL,
    starts_processes=True,
    help=gettext(
        "Start the bot, the workers, the tick and the sender, and stop them cleanly on Ctrl-C."
    ),
)
@click.argument(
    "what", type=choice("all", *PROCESSES), default="all", metavar="[all|bot|worker|tick|sender]"
)
@click.option(
    "--queue",
    type=choice(*QUEUES),
    help=gettext(
        "For a worker: serve only this queue. Without it one worker serves all queues, one job "
        "at a time, so a training delays every other job."
    ),
)
def COMMAND(call: Call, what: str, queue: str | None) -> Answer:
    """Run the processes until Ctrl-C."""
    from bot import server
    from retention.db.migrate import upgrade
    from workers import supervisor

    upgrade(call.services.settings)
    if what != "sender":  # which has no key of its own
        _ = call.services.settings.key  # a missing one stops the start with a sentence
    if what == "all" and not server.missing_configuration(call.services.settings):
        server.check_ports(call.services.settings)  # the bot would start again and again
    supervisor.run(
        call.services.settings, roles=PROCESSES if what == "all" else (what,), queue=queue
    )
    return Answer("bot/stopped")
