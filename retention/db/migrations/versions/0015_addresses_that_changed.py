"""Store when a customer's address changed, and index merged ids

Bounces of the earlier address then do not count against the new one. Merged ids are looked up by
their current customer.
"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables

revision = "0015_addresses_that_changed"
down_revision = "0014_jobs_of_before"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("directory") as batch_op:
        batch_op.add_column(
            sa.Column("email_changed_at", retention.db.tables.Utc(timezone=True), nullable=True)
        )
    op.create_index("ix_directory_canonical_id", "directory", ["canonical_id"])
