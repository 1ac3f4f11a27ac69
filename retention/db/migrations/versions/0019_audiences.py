"""Store audiences, and the audience of a sweep"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0019_audiences"
down_revision = "0018_churn_definitions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audiences",
        row_id(),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("expression", sa.Text(), nullable=False),
        sa.Column("is_exclusion", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("customers", sa.Integer(), nullable=False),
        sa.Column("counted_as_of", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("saved_by", sa.String(length=64), nullable=False),
        sa.Column("saved_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audiences")),
        sa.UniqueConstraint("team_id", "name", name=op.f("uq_audiences_team_id_name")),
    )
    with op.batch_alter_table("cohorts") as batch_op:
        batch_op.add_column(sa.Column("audience", sa.String(length=40), nullable=True))
