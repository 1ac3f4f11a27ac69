"""Add the chats with the shop's customers"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import row_id, utc

revision = "0051_service"
down_revision = "0050_privacy_ledger"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(length=32), primary_key=True),
        sa.Column("customer_id", sa.String(length=255), nullable=True, index=True),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=True),
        utc("waiting_since", nullable=True),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        utc("updated_at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
    )
    op.create_index(op.f("ix_conversations_team_id_state"), "conversations", ["team_id", "state"])
    op.create_table(
        "chat_messages",
        row_id(),
        sa.Column(
            "conversation_id",
            sa.String(length=32),
            sa.ForeignKey("conversations.id"),
            nullable=False,
        ),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False, unique=True),
        sa.Column("author", sa.String(length=10), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("is_signed", sa.Boolean(), nullable=False),
        sa.Column("is_handled", sa.Boolean(), nullable=False),
        utc("said_at"),
        utc("at"),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("conversation_id", "seq"),
    )
    op.create_index(op.f("ix_chat_messages_is_handled_at"), "chat_messages", ["is_handled", "at"])
