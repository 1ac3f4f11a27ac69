"""Remove a source with its access to the other system."""

from sqlalchemy import delete, exists, func, select
from sqlalchemy.exc import IntegrityError

from retention import clock
from retention.connect import connections
from retention.connect.shops import webhook_inbox
from retention.connect.sources import source_records
from retention.db import Transaction, tables
from retention.db.audit import record
from retention.db.tables import Connection, ShopDiscount, Source, Webhook
from retention.errors import Conflict
from retention.text import gettext

_AT_THE_SHOP = ("wanted", "made")  # states of codes that only this access can delete


def remove(session: Transaction, name: str, by: str) -> Source:
    """Delete a source, its runs and its access; imported data stays."""
    source = source_records.find(session, name)
    connection = session.get(Connection, source.connection_id or 0)
    if connection is not None:
        _check_codes(session, connection)
        _check_webhooks(session, connection)
    runs = delete(tables.SourceRun).filter_by(source_id=source.id)
    for gone in (runs, delete(Source).filter_by(id=source.id)):
        session.change(gone)
    if connection is not None:
        _remove_access(session, connection)
    record(session, by, "source.remove", source.name, clock.now(), {"kind": source.kind})
    return source


def _check_codes(session: Transaction, connection: Connection) -> None:
    """Refuse while codes are valid that nobody could delete at the shop afterwards."""
    campaign, code = tables.Campaign, tables.ShopCode
    has_codes = exists().where(code.discount_id == ShopDiscount.id, code.state.in_(_AT_THE_SHOP))
    own = ShopDiscount.connection_id == connection.id, ShopDiscount.ends_at > clock.now()
    last = session.execute(
        select(campaign.name, ShopDiscount.ends_at)
        .join(campaign, campaign.id == ShopDiscount.campaign_id)
        .where(*own, has_codes)
        .order_by(ShopDiscount.ends_at.desc())
        .limit(1)
    ).first()
    if last is not None:
        raise Conflict(
            gettext(
                "The codes of the campaign {campaign} are valid at {name} until {day}. Stop the "
                "campaign, or remove {name} after that day."
            ).format(
                campaign=last.name,
                name=connection.name,
                day=f"{last.ends_at.astimezone(session.settings.zone):%Y-%m-%d}",
            )
        )


def _check_webhooks(session: Transaction, connection: Connection) -> None:
    """Refuse while webhooks wait that would be lost; those that failed for a day do not count."""
    own = {"connection_id": connection.id, "state": webhook_inbox.WAITING}
    waiting = select(func.count(Webhook.id)).filter_by(**own)
    number = session.scalar(waiting.where(Webhook.attempts < webhook_inbox.MAX_ATTEMPTS))
    if number:
        message = gettext(
            "Webhooks of {name} wait to be imported ({number:,}); remove it in a minute."
        )
        raise Conflict(message.format(number=number, name=connection.name))


def _remove_access(session: Transaction, connection: Connection) -> None:
    """Delete a connection; one that campaigns refer to only loses its secrets and its name."""
    try:
        with session.begin_nested():
            session.change(delete(Connection).where(Connection.id == connection.id))
    except IntegrityError:
        connection.name, connection.state = f"removed-{connection.id}", "removed"
        connection.secrets = connections.encrypt(session.settings.keys, {})
