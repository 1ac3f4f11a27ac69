"""Store each customer's variant, and what a test of variants showed"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import utc

revision = "0041_variants"
down_revision = "0038_message_events"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("assignments") as batch:
        batch.add_column(sa.Column("variant", sa.String(length=1), nullable=True))
        batch.add_column(sa.Column("variant_propensity", sa.Float(), nullable=True))
    with op.batch_alter_table("campaigns") as batch:
        batch.add_column(utc("test_ends_at", nullable=True))
        batch.add_column(sa.Column("test_result", sa.JSON(), nullable=True))
