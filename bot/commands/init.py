"""`init`: create the installation's home."""

from bot.commands.parameters import switch
from bot.commands.tree import Answer, Call, command
from retention.text import gettext


@command("init", role="admin")
@switch("--demo", gettext("Also import the Complete Journey, a real shop's year."))
def COMMAND(call: Call, demo: bool) -> Answer:
    """Create the secret key, the database and the lake."""
    from retention.db.migrate import upgrade

    settings = call.settings
    revision = upgrade(settings)
    if not settings.key:
        raise RuntimeError("an empty secret key")
    if demo:
        from retention.demo import import_whole_year

        import_whole_year(call.database, call.progress)
    return Answer(
        "bot/init", {"home": str(settings.home), "database_revision": revision, "demo": demo}
    )
