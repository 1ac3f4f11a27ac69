"""`backup`: the whole installation in one file."""

from dataclasses import asdict
from pathlib import Path

import click

from bot.commands.tree import TERMINAL, TO_WRITE, Answer, Call, command


@command("backup", role="admin", surfaces=TERMINAL)
@click.argument("file", type=TO_WRITE, metavar="FILE")
def COMMAND(call: Call, file: Path) -> Answer:
    """Back up database, lake and models into FILE (.tar.gz) while everything runs; the output says if it has the key."""
    from retention.backup import backup

    return Answer(
        "bot/backup", asdict(backup(call.services.settings, file, progress=call.progress))
    )
