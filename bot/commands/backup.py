"""`backup`: write the whole installation to one file."""

from dataclasses import asdict
from pathlib import Path

import click

from bot.commands.tree import TERMINAL, TO_WRITE, Answer, Call, command
from retention.text import gettext


@command(
    "backup",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Back up database, lake and models into FILE (.tar.gz) while everything runs; "
        "the output says if it has the key."
    ),
)
@click.argument("file", type=TO_WRITE, metavar="FILE")
def COMMAND(call: Call, file: Path) -> Answer:
    """Back up database, lake and models to a file."""
    from retention.backup import backup

    return Answer(
        "bot/backup", asdict(backup(call.services.settings, file, progress=call.progress))
    )
