"""`rotate-keys`: create a new root key."""

from bot.commands.parameters import switch
from bot.commands.tree import Answer, Call, command
from retention.text import gettext


@command("rotate-keys", role="admin")
@switch(
    "--reseal", gettext("No new key: only seal models and hash the directory with the present one.")
)
def COMMAND(call: Call, reseal: bool) -> Answer:
    """Create a new root key, or only seal models again."""
    from retention.installation.rotation import reseal_all, rotate
    from retention.lake import customer_directory

    settings = call.settings if reseal else rotate(call.settings)
    directory = customer_directory.read(call.lake, settings)
    with call.database.transaction() as session:
        resealed = reseal_all(directory, session, call.user)
    keys = settings.keys
    return Answer(
        "bot/keys_rotated", {"key_id": keys.current_id, "older": len(keys.all) - 1, **resealed}
    )
