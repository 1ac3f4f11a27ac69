"""`init`: create the installation's home."""

import click

from bot.commands.tree import TERMINAL, Answer, Call, TerminalOption, command
from retention.text import gettext


@command(
    "init",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Make the home: the secret key, the database, the lake; all of it may be there already."
    ),
)
@click.option(
    "--demo",
    is_flag=True,
    cls=TerminalOption,
    help=gettext("Also import the Complete Journey, a real shop's year."),
)
def COMMAND(call: Call, demo: bool) -> Answer:
    """Create the secret key, the database and the lake."""
    from retention.db.migrate import upgrade

    settings = call.services.settings
    revision = upgrade(settings)
    if not settings.key:
        raise RuntimeError("an empty secret key")
    if demo:
        from retention.demo import import_whole_year

        import_whole_year(settings, call.services.database, call.progress)
    return Answer(
        "bot/init", {"home": str(settings.home), "database_revision": revision, "demo": demo}
    )
