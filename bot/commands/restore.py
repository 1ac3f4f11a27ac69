"""`restore`: restore a backup into an empty home."""

from dataclasses import asdict
from pathlib import Path

import click

from bot.commands.tree import Answer, Call, command


@command("restore", role="admin", without_database=True)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def COMMAND(call: Call, file: Path) -> Answer:
    """Check a backup and restore it into an empty home."""
    from retention.installation.backup import restore

    return Answer("bot/restore", asdict(restore(call.settings, file, progress=call.progress)))
