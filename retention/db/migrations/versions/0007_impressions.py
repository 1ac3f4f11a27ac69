"""Which recommendations were shown to whom, and what people said of them"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0007_impressions"
down_revision = "0006_second_approver"
branch_labels = None
depends_on = None

KEY = ["team_id", "customer_id", "model_version", "user_id"]


def upgrade() -> None:
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("item_id", sa.String(length=255), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("position", sa.Integer(), nullable=True))
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.drop_constraint("pk_feedback", type_="primary")
        batch_op.create_primary_key("pk_feedback", [*KEY, "item_id"])
        batch_op.alter_column("item_id", existing_type=sa.String(length=255), server_default=None)
    op.create_table(
        "impressions",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("shown_in", sa.String(length=32), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.String(length=255), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("surface", sa.String(length=12), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("model_version", sa.String(length=48), nullable=False),
        sa.Column("arm", sa.String(length=80), nullable=False),
        sa.Column("propensity", sa.Float(), nullable=True),
        sa.Column("shown_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "team_id", "shown_in", "customer_id", "position", name=op.f("pk_impressions")
        ),
    )
    op.create_index(
        "ix_impressions_team_id_surface_shown_at", "impressions", ["team_id", "surface", "shown_at"]
    )
    op.create_index("ix_impressions_customer_id", "impressions", ["customer_id"])
