"""Let processes of versions before 0010 store jobs

Such a process knows neither since when a job waits nor how many workers it has lost.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014_jobs_of_before"
down_revision = "0013_files_nobody_took"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.alter_column("queued_at", server_default=sa.func.current_timestamp())
        batch_op.alter_column("lost", server_default="0")
