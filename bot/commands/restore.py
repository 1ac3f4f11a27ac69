"""`restore`: restore a backup into an empty home."""

from dataclasses import asdict
from pathlib import Path

import click

from bot.commands.tree import TERMINAL, Answer, Call, command
from retention.text import gettext


@command(
    "restore",
    role="admin",
    surfaces=TERMINAL,
    without_database=True,
    help=gettext(
        "Bring a backup into an empty home, every file checked first; then start as ever."
    ),
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def COMMAND(call: Call, file: Path) -> Answer:
    """Check a backup and restore it into an empty home."""
    from retention.backup import restore

    return Answer(
        "bot/restore", asdict(restore(call.services.settings, file, progress=call.progress))
    )
