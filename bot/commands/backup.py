"""`backup`: write the whole installation to one file."""

from dataclasses import asdict
from pathlib import Path

import click

from bot.commands.parameters import TO_WRITE
from bot.commands.tree import Answer, Call, command


@command("backup", role="admin")
@click.argument("file", type=TO_WRITE, metavar="FILE")
def COMMAND(call: Call, file: Path) -> Answer:
    """Back up database, lake and models to a file."""
    from retention.installation.backup import backup

    return Answer("bot/backup", asdict(backup(call.settings, file, progress=call.progress)))
