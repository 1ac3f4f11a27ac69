"""Store a code for bounced and cancelled sends, and derive it for existing rows"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0017_send_error_codes"
down_revision = "0016_request_limits"
branch_labels = None
depends_on = None

BATCH_ROWS = 2_000
MESSAGE_PREFIX = "the message was refused: "
BOUNCED_LATER = "bounced later"
ADDRESS = re.compile(r"\b5\.[12]\.\d|^55[0-3]\b(?! 5\.\d)")  # as the version before decided
CANCELLED = {
    "no consent any more": "no_consent",
    "unsubscribed since": "unsubscribed",
    "the campaign was stopped": "campaign_stopped",
    "the campaign is over": "campaign_over",
    "not sent before the window was over": "window_over",
    "erased": "erased",
}


def upgrade() -> None:
    with op.batch_alter_table("sends") as batch_op:
        batch_op.add_column(sa.Column("error_code", sa.String(length=32), nullable=True))
    sends = sa.table("sends", *map(sa.column, ("id", "state", "error", "error_code")))
    for error, code in CANCELLED.items():
        op.execute(
            sends.update()
            .where(sends.c.state == "cancelled", sends.c.error == error)
            .values(error_code=code)
        )
    _set_bounce_codes(sends)


def _set_bounce_codes(sends: sa.TableClause) -> None:
    connection, last = op.get_bind(), 0
    update = (
        sends.update()
        .where(sends.c.id == sa.bindparam("send_id"))
        .values(error_code=sa.bindparam("code"))
    )
    while True:
        rows = connection.execute(
            sa.select(sends.c.id, sends.c.error)
            .where(sends.c.state == "bounced", sends.c.error.is_not(None), sends.c.id > last)
            .order_by(sends.c.id)
            .limit(BATCH_ROWS)
        ).all()
        if not rows:
            return
        connection.execute(
            update, [{"send_id": send_id, "code": _bounce_code(error)} for send_id, error in rows]
        )
        last = rows[-1].id


def _bounce_code(error: str) -> str:
    if error == BOUNCED_LATER:
        return "reported_later"
    if error.startswith(MESSAGE_PREFIX):
        return "message_refused"
    is_about_address = not error[:1].isdigit() or bool(ADDRESS.search(error))
    return "address_refused" if is_about_address else "delivery_refused"
