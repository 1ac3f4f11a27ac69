"""Store unsubscribes by channel"""

import sqlalchemy as sa
from alembic import op

revision = "0033_suppressions_by_channel"
down_revision = "0032_profiles"
branch_labels = None
depends_on = None

TABLE, KEY = "suppressions", "pk_suppressions"


def upgrade() -> None:
    with op.batch_alter_table(TABLE, recreate="auto") as suppressions:
        suppressions.add_column(
            sa.Column("channel", sa.String(length=8), nullable=False, server_default="email")
        )
        suppressions.drop_constraint(op.f(KEY), type_="primary")
        suppressions.create_primary_key(op.f(KEY), ["customer_id", "channel"])
