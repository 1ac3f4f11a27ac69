"""Two approvers, the clearance time and a reminder; what was stopped is called cancelled"""

import sqlalchemy as sa
from alembic import op

revision = "0006_second_approver"
down_revision = "0005_sends"
branch_labels = None
depends_on = None

DECIDED = ("approved", "sending", "live", "measuring", "closed")


def upgrade() -> None:
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("approved_by", sa.JSON(), nullable=False, server_default="[]")
        )
        batch_op.add_column(sa.Column("remind_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("clears_at", sa.DateTime(timezone=True), nullable=True))
    moved = sa.table(
        "campaigns",
        sa.column("id", sa.String),
        sa.column("state", sa.String),
        sa.column("decided_by", sa.String),
        sa.column("approved_by", sa.JSON),
        sa.column("expires_at", sa.DateTime(timezone=True)),
        sa.column("send_at", sa.DateTime(timezone=True)),
        sa.column("clears_at", sa.DateTime(timezone=True)),
    )
    op.execute(moved.update().where(moved.c.state == "stopped").values(state="cancelled"))
    # an approval had no end, and its campaign kept the end of the wait for it
    op.execute(
        moved.update()
        .where(moved.c.state == "approved")
        .values(clears_at=moved.c.send_at, expires_at=None)
    )
    connection = op.get_bind()
    decided = sa.select(moved.c.id, moved.c.decided_by).where(moved.c.state.in_(DECIDED))
    for campaign_id, who in connection.execute(
        decided.where(moved.c.decided_by.is_not(None))
    ).all():
        connection.execute(
            moved.update().where(moved.c.id == campaign_id).values(approved_by=[who])
        )
