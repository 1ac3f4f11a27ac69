"""Store when the senders of live events sent"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0035_live_senders"
down_revision = "0034_cancelled_orders"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "live_senders",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("hours", sa.JSON(), nullable=False),
        sa.Column("last_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("silent_since", retention.db.tables.Utc(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_live_senders")),
    )
