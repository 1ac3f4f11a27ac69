"""Store whether churn means no order, no renewal or no activity"""

import sqlalchemy as sa
from alembic import op

revision = "0048_churn_means"
down_revision = "0047_policy_proposals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("churn_definitions") as batch_op:
        batch_op.add_column(
            sa.Column("means", sa.String(length=12), server_default="order", nullable=False)
        )
