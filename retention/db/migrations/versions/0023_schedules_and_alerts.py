"""Extend schedules; store alerts, their firings and the programme's hold-out"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id, utc

revision = "0023_schedules_and_alerts"
down_revision = "0022_groups_and_languages"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("schedules") as batch_op:
        batch_op.add_column(sa.Column("monthday", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("command", sa.Text(), nullable=True))
        batch_op.add_column(utc("paused_at", nullable=True))
    op.create_table(
        "alerts",
        row_id(),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("audience", sa.String(length=40), nullable=True),
        sa.Column("channel", sa.String(length=64), nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        utc("created_at"),
        utc("muted_at", nullable=True),
        utc("snoozed_until", nullable=True),
        utc("checked_at", nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("team_id", "name", name=op.f("uq_alerts_team_id_name")),
    )
    op.create_table(
        "alert_firings",
        row_id(),
        sa.Column("alert_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", retention.db.tables.Utc(timezone=True), nullable=False),
        sa.Column("customers", sa.Integer(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_alert_firings_alert_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_firings")),
    )
    with op.batch_alter_table("alert_firings") as batch_op:
        batch_op.create_index(op.f("ix_alert_firings_team_id_at"), ["team_id", "at"])
    op.create_table(
        "programme_holdouts",
        row_id(),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        utc("set_at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programme_holdouts")),
    )
