"""Every send as a row, and who wants no more"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0005_sends"
down_revision = "0004_merged_ids"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = retention.db.tables.Utc(timezone=True)
    op.create_table(
        "sends",
        row_id(),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("channel", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", moment, nullable=True),
        sa.Column("retry_at", moment, nullable=True),
        sa.Column("lease_until", moment, nullable=True),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("message_id", sa.String(length=255), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("queued_at", moment, nullable=False),
        sa.Column("sent_at", moment, nullable=True),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_sends_campaign_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sends")),
        sa.UniqueConstraint(
            "campaign_id", "customer_id", name=op.f("uq_sends_campaign_id_customer_id")
        ),
    )
    op.create_index("ix_sends_campaign_id_state_id", "sends", ["campaign_id", "state", "id"])
    op.create_index("ix_sends_customer_id", "sends", ["customer_id"])
    op.create_table(
        "suppressions",
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_suppressions")),
    )
    # Campaigns sent before there were rows: their codes went out as a file.
    op.execute(
        "INSERT INTO sends (campaign_id, customer_id, channel, state, attempts, queued_at, "
        "sent_at, team_id) "
        "SELECT a.campaign_id, a.customer_id, 'csv', 'sent', 1, c.sent_at, c.sent_at, a.team_id "
        "FROM assignments AS a JOIN campaigns AS c ON c.id = a.campaign_id "
        "WHERE a.arm = 'treatment' AND c.sent_at IS NOT NULL AND c.state <> 'sending'"
    )
