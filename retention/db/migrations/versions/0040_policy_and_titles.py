"""Store changes of the policy, and titles of items that a person set"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import utc

revision = "0040_policy_and_titles"
down_revision = "0037_profile_deletions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_changes",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("changed_by", sa.String(length=64), nullable=False),
        utc("changed_at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "version", name=op.f("pk_policy_changes")),
    )
    op.create_table(
        "item_titles",
        sa.Column("item_id", sa.String(length=255), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        utc("set_at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "item_id", name=op.f("pk_item_titles")),
    )
