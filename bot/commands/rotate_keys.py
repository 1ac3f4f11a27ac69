"""`rotate-keys`: create a new root key."""

import click

from bot.commands.tree import TERMINAL, Answer, Call, TerminalOption, command
from retention.text import gettext


@command(
    "rotate-keys",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Make a new root key; links and seals made with older ones stay valid. Stop the"
        " processes first, start them after."
    ),
)
@click.option(
    "--reseal",
    is_flag=True,
    cls=TerminalOption,
    help=gettext("No new key: only seal models and hash the directory with the present one."),
)
def COMMAND(call: Call, reseal: bool) -> Answer:
    """Create a new root key, or only seal models again."""
    from retention.lake import Lake, customer_directory
    from retention.rotation import reseal_all, rotate

    settings = call.services.settings if reseal else rotate(call.services.settings)
    directory = customer_directory.read(Lake.open(settings), settings)
    with call.services.database.transaction() as session:
        resealed = reseal_all(directory, session, settings, call.user)
    keys = settings.keys
    return Answer(
        "bot/keys_rotated", {"key_id": keys.current_id, "older": len(keys.all) - 1, **resealed}
    )
