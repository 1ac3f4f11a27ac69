"""Add the themes of what customers write, and the names that people gave them"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import utc

revision = "0046_text_themes"
down_revision = "0045_bound_secrets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "text_themes",
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("texts", sa.Integer(), nullable=False),
        utc("found_at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("team_id", name=op.f("pk_text_themes")),
    )
