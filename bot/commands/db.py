"""`db`: migrate the operational database."""

from bot.commands.tree import TERMINAL, Answer, Call, group
from retention.text import gettext


@group("db", surfaces=TERMINAL, help=gettext("The operational database."))
def COMMAND() -> None: ...


@COMMAND.command(
    "upgrade",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Bring the database to this version's schema (`init`, `run` and `demo` do it by"
        " themselves), and its customers to the lake's."
    ),
)
def migrate(call: Call) -> Answer:
    """Migrate the database and synchronise its customers with the lake."""
    from retention.db.migrate import upgrade
    from retention.lake import Lake, customer_directory

    settings = call.services.settings
    revision = upgrade(settings)
    # A new database does not have the lake's customers yet.
    changed = customer_directory.sync(Lake.open(settings), call.services.database, settings)
    return Answer("bot/upgraded", {"database_revision": revision, "customers_changed": changed})
