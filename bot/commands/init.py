"""`init`: make the home."""

import click

from bot.commands.tree import TERMINAL, Answer, Call, TerminalOption, command


@command("init", role="admin", surfaces=TERMINAL)
@click.option(
    "--demo",
    is_flag=True,
    cls=TerminalOption,
    help="Also import the Complete Journey, a real shop's year.",
)
def COMMAND(call: Call, demo: bool) -> Answer:
    """Make the home: the secret key, the database, the lake; all of it may be there already."""
    from retention.db.migrate import upgrade

    settings = call.services.settings
    revision = upgrade(settings)
    if not settings.key:
        raise RuntimeError("an empty secret key")
    if demo:
        from retention.demo import whole_year

        whole_year(settings, call.services.database, call.progress)
    return Answer(
        "bot/init", {"home": str(settings.home), "database_revision": revision, "demo": demo}
    )
