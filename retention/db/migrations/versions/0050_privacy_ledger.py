"""Store releases with differential privacy and their cost"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import row_id, utc

revision = "0050_privacy_ledger"
down_revision = "0048_churn_means"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "privacy_releases",
        row_id(),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("period", sa.String(length=64), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("epsilon", sa.Float(), nullable=False),
        sa.Column("delta", sa.Float(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        utc("at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_privacy_releases")),
        sa.UniqueConstraint(
            "team_id", "subject", "period", name=op.f("uq_privacy_releases_team_id_subject_period")
        ),
    )
    op.create_index(op.f("ix_privacy_releases_team_id_at"), "privacy_releases", ["team_id", "at"])
