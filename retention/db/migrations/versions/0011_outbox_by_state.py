"""A look of the sender no longer leads through all that was ever sent to a channel"""

from alembic import op

revision = "0011_outbox_by_state"
down_revision = "0010_waiting"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_outbox_channel_id", "outbox")
    op.create_index("ix_outbox_channel_state", "outbox", ["channel", "state"])
    op.create_index("ix_outbox_channel_sent_at", "outbox", ["channel", "sent_at"])
    op.create_index("ix_files_uploaded_at", "files", ["uploaded_at"])
