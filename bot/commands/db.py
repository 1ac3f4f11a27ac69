"""`db`: migrate the operational database."""

from bot.commands.tree import Answer, Call, group
from retention.text import gettext


@group("db")
def COMMAND() -> None: ...


@COMMAND.command(
    "upgrade",
    role="admin",
    help=gettext(
        "Bring the database to this version's schema (`init`, `run` and `demo` do it by"
        " themselves), and its customers to the lake's."
    ),
)
def migrate(call: Call) -> Answer:
    """Migrate the database and synchronise its customers with the lake."""
    from retention.db.migrate import upgrade
    from retention.lake import customer_directory

    settings = call.settings
    revision = upgrade(settings)
    # A new database does not have the lake's customers yet.
    changed = customer_directory.sync(call.lake, call.database)
    return Answer("bot/upgraded", {"database_revision": revision, "customers_changed": changed})
