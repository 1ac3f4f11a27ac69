"""Queue sends in files that nobody downloaded again, while their campaign is measured

The version before cancelled them. Later campaigns keep such sends queued.
"""

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
