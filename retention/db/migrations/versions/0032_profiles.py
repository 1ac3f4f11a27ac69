"""Store published scores, members of audiences, and keys of the read API"""

import sqlalchemy as sa
from alembic import op

from retention.db.migrations.columns import row_id, utc

revision = "0032_profiles"
down_revision = "0031_call_owners"
branch_labels = None
depends_on = None


def _team() -> sa.Column:
    return sa.Column("team_id", sa.String(length=32), nullable=False)


def _snapshot(table: str) -> tuple[sa.Column, sa.ForeignKeyConstraint]:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return (
        sa.Column("snapshot_id", big, nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["profile_snapshots.id"],
            name=op.f(f"fk_{table}_snapshot_id"),
            ondelete="CASCADE",
        ),
    )


def upgrade() -> None:
    op.create_table(
        "profile_snapshots",
        row_id(),
        utc("as_of"),
        sa.Column("model_version", sa.String(length=48), nullable=False),
        sa.Column("customers", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        utc("created_at"),
        utc("completed_at", nullable=True),
        _team(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile_snapshots")),
    )
    op.create_index(
        "ix_profile_snapshots_team_id_completed_at",
        "profile_snapshots",
        ["team_id", "completed_at"],
    )
    op.create_table(
        "profiles",
        *_snapshot("profiles"),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("churn_probability", sa.Float(), nullable=False),
        sa.Column("tier", sa.String(length=12), nullable=False),
        sa.Column("expected_value", sa.Float(), nullable=False),
        utc("next_order_at", nullable=True),
        sa.Column("items", sa.JSON(), nullable=False),
        _team(),
        sa.PrimaryKeyConstraint("snapshot_id", "customer_id", name=op.f("pk_profiles")),
    )
    op.create_table(
        "audience_members",
        *_snapshot("audience_members"),
        sa.Column("audience", sa.String(length=40), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        _team(),
        sa.PrimaryKeyConstraint(
            "snapshot_id", "audience", "customer_id", name=op.f("pk_audience_members")
        ),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        utc("created_at"),
        utc("revoked_at", nullable=True),
        _team(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_team_id_name", "api_keys", ["team_id", "name"])
