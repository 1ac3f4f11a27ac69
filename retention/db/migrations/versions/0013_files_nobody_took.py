"""Copies in a file that nobody took wait on while their campaign is measured, as they do of campaigns measured since"""

import sqlalchemy as sa
from alembic import op

revision = "0013_files_nobody_took"
down_revision = "0012_slack_oauth"
branch_labels = None
depends_on = None

BEFORE = "not sent before the window was over"  # why the version before cancelled them


def upgrade() -> None:
    sends = sa.table(
        "sends", *map(sa.column, ("campaign_id", "customer_id", "channel", "state", "error"))
    )
    campaigns = sa.table("campaigns", sa.column("id"), sa.column("state"))
    measuring = sa.select(campaigns.c.id).where(campaigns.c.state == "measuring")
    op.execute(
        sends.update()
        .where(
            sends.c.state == "cancelled",
            sends.c.channel.in_(("csv", "call")),
            sends.c.error == BEFORE,
            sends.c.campaign_id.in_(measuring),
            sends.c.customer_id.not_like("erased-%"),
        )
        .values(state="queued", error=None)
    )


def downgrade() -> None:
    """Nothing is lost by their waiting."""
