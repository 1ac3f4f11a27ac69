"""Decide when the codes and webhooks of a shop are checked: every night after three o'clock."""

from datetime import datetime, time

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from retention.campaigns.shop_code_check import AFTER_END
from retention.connect.contract import WEBHOOKS_AT
from retention.db.tables import Connection, Job, ShopDiscount
from retention.settings import Settings

CHECK_AT = time(3)  # in the shop's zone


def due(session: Session, settings: Settings, now: datetime) -> list[Connection]:
    """Return the shops whose check of this night is due.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of Connection
    """
    local = now.astimezone(settings.zone)
    begin = datetime.combine(local.date(), CHECK_AT, settings.zone)
    if now < begin:
        return []
    return [
        shop
        for shop in _shops(session, settings, now, ShopDiscount.created_at < begin)
        if not session.scalar(select(Job.id).where(Job.idem_key == key(settings, shop, now)))
    ]


def key(settings: Settings, shop: Connection, now: datetime) -> str:
    """Return the idempotency key of a night's check.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    shop : Connection
        The shop.
    now : datetime
        Business time.

    Returns
    -------
    str
    """
    return f"shop_reconcile:{shop.id}:{now.astimezone(settings.zone):%Y-%m-%d}"


def _shops(
    session: Session, settings: Settings, now: datetime, *further: ColumnElement[bool]
) -> list[Connection]:
    has_codes = exists().where(
        ShopDiscount.connection_id == Connection.id,
        ShopDiscount.ends_at > now - AFTER_END,
        *further,
    )
    is_active = (Connection.team_id == settings.team_id, Connection.state == "active")
    active = select(Connection, has_codes.label("has_codes")).where(*is_active)
    return [
        shop
        for shop, is_with_codes in session.execute(active.order_by(Connection.id)).tuples()
        if is_with_codes or WEBHOOKS_AT in shop.config
    ]
