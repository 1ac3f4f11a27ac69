"""Store the installation's definitions of churn, and the horizon of each cohort"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0018_churn_definitions"
down_revision = "0017_send_error_codes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "churn_definitions",
        row_id(),
        sa.Column("horizon_days", sa.Integer(), nullable=False),
        sa.Column("active_within_days", sa.Integer(), nullable=True),
        sa.Column("source", sa.String(length=12), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=False),
        sa.Column("decided_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_churn_definitions")),
    )
    with op.batch_alter_table("cohorts") as batch_op:
        batch_op.add_column(sa.Column("horizon_days", sa.Integer(), nullable=True))
