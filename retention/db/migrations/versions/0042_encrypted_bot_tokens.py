"""Encrypt the bot tokens that installations by OAuth stored"""

import sqlalchemy as sa
from alembic import context, op

from retention.encryption import encrypt_bot_token

revision = "0042_encrypted_bot_tokens"
down_revision = "0041_variants"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("slack_bots", "slack_installations"):
        with op.batch_alter_table(name) as batch:
            batch.alter_column("bot_token", type_=sa.String(500), existing_type=sa.String(200))
        table = sa.table(name, sa.column("id"), sa.column("bot_token"))
        rows = op.get_bind().execute(sa.select(table).where(table.c.bot_token.is_not(None))).all()
        for row in rows:  # without a row, no key is needed
            encrypted = encrypt_bot_token(context.config.attributes["settings"].keys, row.bot_token)
            op.execute(table.update().where(table.c.id == row.id).values(bot_token=encrypted))
