"""Store which roles come from a Slack user group, and chosen languages"""

import sqlalchemy as sa
from alembic import op

revision = "0022_groups_and_languages"
down_revision = "0021_customer_care"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("roles") as batch_op:
        batch_op.add_column(sa.Column("via", sa.String(length=64), nullable=True))
    op.create_table(
        "languages",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=False),
        sa.Column("language", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "scope", name=op.f("pk_languages")),
    )
