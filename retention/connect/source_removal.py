"""Remove a source with its access to the other system."""

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retention import clock
from retention.connect import sources, webhook_inbox
from retention.db.audit import record
from retention.db.tables import (
    Campaign,
    Connection,
    ShopCode,
    ShopDiscount,
    Source,
    SourceRun,
    Webhook,
)
from retention.errors import Conflict
from retention.settings import Settings
from retention.text import gettext

_NO_SYNC = {"synchronize_session": False}
_AT_THE_SHOP = ("wanted", "made")  # states of codes that only this access can delete


def remove(session: Session, settings: Settings, name: str, by: str) -> Source:
    """Delete a source, its runs and its access; imported data stays.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    name : str
        Name of the source.
    by : str
        Who removes it.

    Raises
    ------
    BadInput
        There is no such source.
    Conflict
        Codes of a campaign are valid at the shop, or webhooks wait.
    """
    source = sources.find(session, settings, name)
    connection = session.get(Connection, source.connection_id or 0)
    if connection is not None:
        _check_codes(session, settings, connection)
        _check_webhooks(session, connection)
    for table, condition in (
        (SourceRun, SourceRun.source_id == source.id),
        (Source, Source.id == source.id),
    ):
        session.execute(delete(table).where(condition), execution_options=_NO_SYNC)
    if connection is not None:
        _remove_access(session, settings, connection)
    record(session, settings, by, "source.remove", source.name, clock.now(), {"kind": source.kind})
    return source


def _check_codes(session: Session, settings: Settings, connection: Connection) -> None:
    """Refuse while codes are valid that nobody could delete at the shop afterwards."""
    last = session.execute(
        select(Campaign.name, ShopDiscount.ends_at)
        .join(Campaign, Campaign.id == ShopDiscount.campaign_id)
        .where(
            ShopDiscount.connection_id == connection.id,
            ShopDiscount.ends_at > clock.now(),
            select(ShopCode.code)
            .where(ShopCode.discount_id == ShopDiscount.id, ShopCode.state.in_(_AT_THE_SHOP))
            .exists(),
        )
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
                day=f"{last.ends_at.astimezone(settings.zone):%Y-%m-%d}",
            )
        )


def _check_webhooks(session: Session, connection: Connection) -> None:
    """Refuse while webhooks wait that would be lost; those that failed for a day do not count."""
    number = session.scalar(
        select(func.count())
        .select_from(Webhook)
        .where(
            Webhook.connection_id == connection.id,
            Webhook.state == webhook_inbox.WAITING,
            Webhook.attempts < webhook_inbox.MAX_ATTEMPTS,
        )
    )
    if number:
        raise Conflict(
            gettext(
                "Webhooks of {name} wait to be imported ({number:,}); remove it in a minute."
            ).format(number=number, name=connection.name)
        )


def _remove_access(session: Session, settings: Settings, connection: Connection) -> None:
    """Delete a connection; one that campaigns refer to only loses its secrets and its name."""
    from retention.connect import secrets

    try:
        with session.begin_nested():
            session.execute(
                delete(Connection).where(Connection.id == connection.id), execution_options=_NO_SYNC
            )
    except IntegrityError:
        connection.name = f"removed-{connection.id}"
        connection.state, connection.secrets = "removed", secrets.encrypt(settings.keys, {})
