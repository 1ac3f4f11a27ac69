"""Store changes of the policy that results propose"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import row_id, utc

revision = "0047_policy_proposals"
down_revision = "0046_text_themes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_proposals",
        row_id(),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        utc("decided_at", nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        utc("created_at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
            name=op.f("fk_policy_proposals_campaign_id_campaigns"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_proposals")),
        sa.UniqueConstraint("campaign_id", name=op.f("uq_policy_proposals_campaign_id")),
    )
    op.create_index(
        op.f("ix_policy_proposals_team_id_state"), "policy_proposals", ["team_id", "state"]
    )
