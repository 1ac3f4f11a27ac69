"""Store the customers of lists that come from files"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import row_id, utc

revision = "0039_list_members"
down_revision = "0040_policy_and_titles"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "list_members",
        row_id(),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        utc("added_at"),
        utc("removed_at", nullable=True),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_members")),
    )
    op.create_index(op.f("ix_list_members_customer_id"), "list_members", ["customer_id"])
    op.create_index(op.f("ix_list_members_team_id_name"), "list_members", ["team_id", "name"])
