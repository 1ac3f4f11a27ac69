"""Store which profiles a mail platform has to delete after an erasure"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0037_profile_deletions"
down_revision = "0036_stored_clicks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "profile_deletions",
        row_id(),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("error_code", sa.String(length=20), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("retry_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile_deletions")),
    )
    op.create_index(op.f("ix_profile_deletions_job_id"), "profile_deletions", ["job_id"])
