"""Store sources of scheduled imports and their pulls"""

import sqlalchemy as sa
from alembic import op

import retention.db.tables
from retention.db.migrations.columns import row_id

revision = "0030_sources"
down_revision = "0029_webhook_inbox"
branch_labels = None
depends_on = None


def upgrade() -> None:
    utc = retention.db.tables.Utc(timezone=True)
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "sources",
        row_id(),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("connection_id", number, nullable=True),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=True),
        sa.Column("watermark_column", sa.String(length=120), nullable=True),
        sa.Column("table_name", sa.String(length=20), nullable=True),
        sa.Column("map_text", sa.Text(), nullable=True),
        sa.Column("format_name", sa.String(length=40), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("every", sa.String(length=40), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("next_at", utc, nullable=True),
        sa.Column("watermark", sa.JSON(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("problem", sa.String(length=24), nullable=True),
        sa.Column("problem_facts", sa.JSON(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("pulled_at", utc, nullable=True),
        sa.Column("new_rows_at", utc, nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", utc, nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_sources_connection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("team_id", "name", name=op.f("uq_sources_team_id_name")),
    )
    op.create_table(
        "source_runs",
        row_id(),
        sa.Column("source_id", number, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("at", utc, nullable=False),
        sa.Column("problem", sa.String(length=24), nullable=True),
        sa.Column("rows_read", sa.Integer(), nullable=False),
        sa.Column("rows_accepted", sa.Integer(), nullable=False),
        sa.Column("rows_duplicate", sa.Integer(), nullable=False),
        sa.Column("rows_quarantined", sa.Integer(), nullable=False),
        sa.Column("rows_late", sa.Integer(), nullable=False),
        sa.Column("team_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_source_runs_source_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_runs")),
    )
    op.create_index("ix_source_runs_source_id_at", "source_runs", ["source_id", "at"])
