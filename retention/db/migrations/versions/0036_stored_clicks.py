"""Store clicks until their listener has ended"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0036_stored_clicks"
down_revision = "0035_live_senders"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_clicks",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stored_clicks")),
    )
