"""Store opens and clicks of e-mails, and the pages that these link to"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import row_id, utc

revision = "0038_message_events"
down_revision = "0039_list_members"
branch_labels = None
depends_on = None


def _text(name: str, length: int) -> sa.Column:
    return sa.Column(name, sa.String(length=length), nullable=False)


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    for name in ("tracks_opens", "tracks_clicks"):
        is_tracked: sa.Column[bool] = sa.Column(
            name, sa.Boolean(), server_default=sa.false(), nullable=False
        )
        op.add_column("sends", is_tracked)
    op.create_table(
        "campaign_links",
        _text("campaign_id", 16),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        _text("team_id", 32),
        _refers("campaign_links", "campaign_id", "campaigns"),
        sa.PrimaryKeyConstraint("campaign_id", "number", name=op.f("pk_campaign_links")),
    )
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "message_events",
        row_id(),
        sa.Column("send_id", big, nullable=False),
        _text("campaign_id", 16),
        _text("customer_id", 255),
        _text("kind", 8),
        sa.Column("link", sa.BigInteger(), nullable=False),
        sa.Column("is_machine", sa.Boolean(), nullable=False),
        _text("reason", 16),
        utc("at"),
        sa.Column("times", sa.Integer(), nullable=False),
        _text("team_id", 32),
        _refers("message_events", "send_id", "sends"),
        _refers("message_events", "campaign_id", "campaigns"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_events")),
        sa.UniqueConstraint(
            "send_id",
            "kind",
            "link",
            "is_machine",
            name=op.f("uq_message_events_send_id_kind_link_is_machine"),
        ),
    )
    for columns in (["campaign_id"], ["customer_id"], ["team_id", "kind", "at"]):
        name = f"ix_message_events_{'_'.join(columns)}"
        op.create_index(op.f(name), "message_events", columns)
