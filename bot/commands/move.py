"""Command that moves an installation to another database."""

from dataclasses import asdict

from bot.commands.parameters import option
from bot.commands.tree import Answer, Call, command
from retention.errors import BadInput
from retention.installation.move import move, password_of
from retention.text import gettext


@command("move", role="admin")
@option(
    "--to",
    gettext("URL of the new, empty database, without a password; by default RETENTION_MOVE_TO."),
    metavar="URL",
)
@option(
    "--lake",
    gettext("Also copy the lake to this folder; by default it stays where it is."),
    metavar="FOLDER",
)
def move_installation(call: Call, to: str | None, lake: str | None) -> Answer:
    """Copy the stopped installation to another database."""
    if to and password_of(to):
        text = gettext(
            "--to holds a password, which others on this machine can read; set RETENTION_MOVE_TO "
            "instead, or name a file with the URL in RETENTION_MOVE_TO_FILE."
        )
        raise BadInput(text, field="to")
    secret = call.settings.move_to
    url = to or (secret.get_secret_value() if secret else "")
    if not url:
        text = gettext(
            "No new database is named; write --to postgresql://USER@HOST/DATABASE, or set "
            "RETENTION_MOVE_TO."
        )
        raise BadInput(text, field="to")
    moved = move(call.database, url, lake or "", progress=call.progress)
    return Answer("bot/move", asdict(moved))
