"""`db`: the operational database."""

from bot.commands.tree import TERMINAL, Answer, Call, group


@group("db", surfaces=TERMINAL, help="The operational database.")
def COMMAND() -> None: ...


@COMMAND.command("upgrade", role="admin", surfaces=TERMINAL)
def to_head(call: Call) -> Answer:
    """Bring the database to this version's schema (`init`, `run` and `demo` do it by themselves), and its customers to the lake's."""
    from retention.db.migrate import upgrade
    from retention.lake import Lake, directory

    settings = call.services.settings
    revision = upgrade(settings)
    with (
        call.services.database.transaction() as session
    ):  # a new database for a lake that has data knows nobody
        changed = directory.sync(Lake.open(settings), session, settings)
    return Answer("bot/upgraded", {"database_revision": revision, "customers_changed": changed})
