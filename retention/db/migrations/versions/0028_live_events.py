"""Store live events, their keys and live scores"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0028_live_events"
down_revision = "0027_shop_codes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event_inbox",
        row_id(),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("received_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_inbox")),
    )
    op.create_table(
        "event_keys",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "key", name=op.f("pk_event_keys")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "live_scores",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("as_of", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("model_version", sa.String(length=48), nullable=False),
        sa.Column("churn_probability", sa.Float(), nullable=False),
        sa.Column("tier", sa.String(length=12), nullable=False),
        sa.Column("expected_value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "customer_id", name=op.f("pk_live_scores")),
    )
    op.create_table(
        "live_firings",
        sa.Column("alert_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"],
            ["alerts.id"],
            name=op.f("fk_live_firings_alert_id_alerts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("alert_id", "customer_id", name=op.f("pk_live_firings")),
    )
