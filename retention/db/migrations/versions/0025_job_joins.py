"""Store who joined an open job"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0025_job_joins"
down_revision = "0024_channel_allowance"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_joins",
        sa.Column("idem_key", sa.String(), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("idem_key", name=op.f("pk_job_joins")),
    )
    op.create_index("ix_job_joins_job_id", "job_joins", ["job_id"])
