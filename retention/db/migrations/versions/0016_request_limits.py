"""Find identical open requests and count one person's jobs"""

import sqlalchemy as sa
from alembic import op

revision = "0016_request_limits"
down_revision = "0015_addresses_that_changed"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.add_column(sa.Column("request_key", sa.String(length=64), nullable=True))
        batch_op.add_column(
            sa.Column("by_person", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
    # Training has a queue of its own now. On the old one it would end after 15 minutes, and
    # everybody would wait for it.
    op.execute(
        "UPDATE jobs SET queue = 'training' "
        "WHERE kind = 'retrain' AND state IN ('queued', 'running')"
    )
    op.create_index(
        "ix_jobs_team_id_request_key_state", "jobs", ["team_id", "request_key", "state"]
    )
    op.create_index(
        "ix_jobs_team_id_requested_by_state_queued_at",
        "jobs",
        ["team_id", "requested_by", "state", "queued_at"],
    )
