"""Store who makes a campaign's calls, and the places that sentences name"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0031_call_owners"
down_revision = "0030_sources"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("campaigns") as campaigns:
        campaigns.add_column(sa.Column("call_owner", sa.String(length=64), nullable=True))
    op.create_table(
        "places",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("entries", sa.JSON(), nullable=False),
        sa.Column("updated_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("team_id", name=op.f("pk_places")),
    )
