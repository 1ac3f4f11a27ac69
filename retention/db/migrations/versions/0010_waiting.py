"""Since when a job waits, and how many workers it has lost"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0010_waiting"
down_revision = "0009_erasures"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.add_column(
            sa.Column("queued_at", retention.db.tables.Utc(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("lost", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE jobs SET queued_at = created_at")
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.alter_column("queued_at", nullable=False)
        batch_op.alter_column("lost", server_default=None)
