"""Feedback on scores and their reasons"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0002_feedback"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("model_version", sa.String(length=48), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("as_of", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "team_id", "customer_id", "model_version", "user_id", name=op.f("pk_feedback")
        ),
    )
    op.create_index("ix_feedback_team_id_model_version", "feedback", ["team_id", "model_version"])
    op.create_index("ix_feedback_team_id_verdict", "feedback", ["team_id", "verdict"])
