"""Give encrypted refresh tokens of the app in Slack room"""

import sqlalchemy as sa
from alembic import op

revision = "0052_refresh_tokens"
down_revision = "0051_service"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("slack_bots", "slack_installations"):
        with op.batch_alter_table(name) as batch:
            batch.alter_column(
                "bot_refresh_token", type_=sa.String(500), existing_type=sa.String(200)
            )
