"""Ids that were merged"""

import sqlalchemy as sa
from alembic import op

revision = "0004_merged_ids"
down_revision = "0003_model_health"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("directory", schema=None) as batch_op:
        batch_op.add_column(sa.Column("canonical_id", sa.String(length=255), nullable=True))
