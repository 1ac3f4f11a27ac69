"""`db`: the operational database."""

from bot.commands.tree import TERMINAL, Answer, Call, group


@group("db", surfaces=TERMINAL, help="The operational database.")
def COMMAND() -> None: ...


@COMMAND.command("upgrade", role="admin", surfaces=TERMINAL)
def to_head(call: Call) -> Answer:
    """Bring the database to this version's schema; `init`, `run` and `demo` do it by themselves."""
    from retention.db.migrate import upgrade

    return Answer("bot/upgraded", {"database_revision": upgrade(call.services.settings)})
