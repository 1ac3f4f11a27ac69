"""Bind stored secrets to the place that they may be sent to"""

import sqlalchemy as sa
from alembic import context, op

from retention.encryption import bind

revision = "0045_bound_secrets"
down_revision = "0044_traces"
branch_labels = None
depends_on = None

# What the desk notes beside the settings that a person gave.
NOTES = (
    *("webhooks_at", "pushed_lists", "left_read_until", "reactions_read_until"),
    *("unfinished_hand_over", "unread_reactions"),
)
PLACES = {
    "connections": ("secrets", ("kind",)),
    "sources": ("secrets", ("kind", "location")),
    "profile_deletions": ("sealed", ("kind", "name")),
}


def upgrade() -> None:
    for name, (secret, columns) in PLACES.items():
        config = [] if name == "profile_deletions" else [sa.column("config", sa.JSON)]
        table = sa.table(name, *map(sa.column, ("id", secret, *columns)), *config)
        rows = op.get_bind().execute(sa.select(table).where(sa.func.length(table.c[secret]) > 0))
        for row in rows.mappings().all():  # without a row, no key is needed
            place = {k: v for k, v in row.get("config", {}).items() if k not in NOTES}
            place |= {column: row[column] for column in columns}
            keys = context.config.attributes["settings"].keys
            bound = bind(keys, row[secret], place)
            op.execute(table.update().where(table.c.id == row["id"]).values({secret: bound}))
