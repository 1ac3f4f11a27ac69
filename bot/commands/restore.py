"""`restore`: a backup into an empty home."""

from dataclasses import asdict
from pathlib import Path

import click

from bot.commands.tree import TERMINAL, Answer, Call, command


@command("restore", role="admin", surfaces=TERMINAL, bare=True)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def COMMAND(call: Call, file: Path) -> Answer:
    """Bring a backup into an empty home, every file checked first; then start as ever."""
    from retention.backup import restore

    return Answer(
        "bot/restore", asdict(restore(call.services.settings, file, progress=call.progress))
    )
