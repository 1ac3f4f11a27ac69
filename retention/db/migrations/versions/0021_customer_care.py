"""Store pauses, notes and calls of single customers"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0021_customer_care"
down_revision = "0020_threads"
branch_labels = None
depends_on = None

_TIME = retention.db.tables.Utc(timezone=True)


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("team_id", "customer_id", name=op.f("pk_pauses")),
    )
    op.create_table(
        "notes",
        row_id(),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )
    op.create_index(op.f("ix_notes_team_id_customer_id"), "notes", ["team_id", "customer_id"])
    op.create_table(
        "calls",
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("added_by", sa.String(length=64), nullable=False),
        sa.Column("added_at", _TIME, nullable=False),
        sa.Column("changed_by", sa.String(length=64), nullable=True),
        sa.Column("changed_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("team_id", "campaign_id", "customer_id", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_team_id_customer_id"), "calls", ["team_id", "customer_id"])
    op.create_index(op.f("ix_calls_team_id_owner"), "calls", ["team_id", "owner"])
