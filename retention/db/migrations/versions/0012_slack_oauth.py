"""Installations by OAuth, as slack_sdk's stores keep them"""

import sqlalchemy as sa
from alembic import op

revision = "0012_slack_oauth"
down_revision = "0011_outbox_by_state"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "slack_bots",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("app_id", sa.String(32), nullable=False),
        *_text(
            enterprise_id=32,
            enterprise_name=200,
            team_id=32,
            team_name=200,
            bot_token=200,
            bot_id=32,
        ),
        *_text(bot_user_id=32, bot_scopes=1000, bot_refresh_token=200),
        sa.Column("bot_token_expires_at", sa.DateTime()),
        sa.Column("is_enterprise_install", sa.Boolean(), nullable=False),
        sa.Column("installed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slack_bots")),
    )
    op.create_index(
        "slack_bots_idx", "slack_bots", ["client_id", "enterprise_id", "team_id", "installed_at"]
    )
    op.create_table(
        "slack_installations",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("app_id", sa.String(32), nullable=False),
        *_text(
            enterprise_id=32, enterprise_name=200, enterprise_url=200, team_id=32, team_name=200
        ),
        *_text(bot_token=200, bot_id=32, bot_user_id=32, bot_scopes=1000, bot_refresh_token=200),
        sa.Column("bot_token_expires_at", sa.DateTime()),
        sa.Column("user_id", sa.String(32), nullable=False),
        *_text(user_token=200, user_scopes=1000, user_refresh_token=200),
        sa.Column("user_token_expires_at", sa.DateTime()),
        *_text(
            incoming_webhook_url=200, incoming_webhook_channel=200, incoming_webhook_channel_id=200
        ),
        *_text(incoming_webhook_configuration_url=200),
        sa.Column("is_enterprise_install", sa.Boolean(), nullable=False),
        *_text(token_type=32),
        sa.Column("installed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slack_installations")),
    )
    op.create_index(
        "slack_installations_idx",
        "slack_installations",
        ["client_id", "enterprise_id", "team_id", "user_id", "installed_at"],
    )
    op.create_table(
        "slack_oauth_states",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("state", sa.String(200), nullable=False),
        sa.Column("expire_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slack_oauth_states")),
    )


def _text(**lengths: int) -> list[sa.Column]:
    return [sa.Column(name, sa.String(length)) for name, length in lengths.items()]
