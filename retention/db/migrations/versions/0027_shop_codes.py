"""Store the discounts and codes that a shop is to have"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0027_shop_codes"
down_revision = "0026_connections"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shop_discounts",
        row_id(),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column(
            "connection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("reference", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("first_code", sa.String(length=24), nullable=False),
        sa.Column("ends_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("platform_id", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("batch", sa.JSON(), nullable=True),
        sa.Column("busy_until", retention.db.tables.Utc(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", retention.db.tables.Utc(timezone=True), nullable=True),
        sa.Column("error_code", sa.String(length=20), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("created_at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_shop_discounts_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_shop_discounts_connection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shop_discounts")),
        sa.UniqueConstraint(
            "team_id", "reference", name=op.f("uq_shop_discounts_team_id_reference")
        ),
    )
    op.create_index(
        op.f("ix_shop_discounts_campaign_id_state"), "shop_discounts", ["campaign_id", "state"]
    )
    op.create_table(
        "shop_codes",
        sa.Column("code", sa.String(length=24), nullable=False),
        sa.Column(
            "discount_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["code"], ["coupons.code"], name=op.f("fk_shop_codes_code")),
        sa.ForeignKeyConstraint(
            ["discount_id"], ["shop_discounts.id"], name=op.f("fk_shop_codes_discount_id")
        ),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_shop_codes")),
    )
    op.create_index(op.f("ix_shop_codes_discount_id_state"), "shop_codes", ["discount_id", "state"])
