"""Let a rested channel have several calls in a row"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0024_channel_allowance"
down_revision = "0023_schedules_and_alerts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outbox") as batch_op:
        batch_op.add_column(
            sa.Column("allowance_used_until", retention.db.tables.Utc(timezone=True), nullable=True)
        )
        batch_op.drop_index("ix_outbox_channel_sent_at")
        batch_op.create_index(
            "ix_outbox_channel_allowance_used_until", ["channel", "allowance_used_until"]
        )
