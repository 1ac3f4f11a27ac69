"""Store the trace of a job and of a message; a reference is a trace id"""

import sqlalchemy as sa
from alembic import op

revision = "0044_traces"
down_revision = "0043_audit_links"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.add_column(sa.Column("traceparent", sa.String(length=55), nullable=True))
        batch_op.alter_column("reference", existing_type=sa.String(16), type_=sa.String(32))
    with op.batch_alter_table("outbox") as batch_op:
        batch_op.add_column(sa.Column("traceparent", sa.String(length=55), nullable=True))
