"""Decide when the codes and webhooks of a shop are checked: every night after three o'clock."""

from datetime import datetime, time

from sqlalchemy import ColumnElement, exists, select

from retention import clock
from retention.campaigns.codes.shop_code_check import AFTER_END
from retention.connect.contract import WEBHOOKS_AT
from retention.connect.shops import webhook_inbox
from retention.db import Database, Transaction
from retention.db.tables import Connection, Job, ShopDiscount
from retention.settings import Settings
from workers.job_requests import ShopInbox
from workers.queue import jobs

CHECK_AT = time(3)  # in the shop's zone


def due(session: Transaction, now: datetime) -> list[Connection]:
    """Return the shops whose check of this night is due."""
    local = now.astimezone(session.settings.zone)
    begin = datetime.combine(local.date(), CHECK_AT, session.settings.zone)
    if now < begin:
        return []
    shops = {
        key(session.settings, shop, now): shop
        for shop in _shops(session, now, ShopDiscount.created_at < begin)
    }
    checked = set(session.scalars(select(Job.idem_key).where(Job.idem_key.in_(shops))))
    return [shop for idem_key, shop in shops.items() if idem_key not in checked]


def key(settings: Settings, shop: Connection, now: datetime) -> str:
    """Return the idempotency key of a night's check."""
    return f"shop_reconcile:{shop.id}:{now.astimezone(settings.zone):%Y-%m-%d}"


def _shops(session: Transaction, now: datetime, is_due: ColumnElement[bool]) -> list[Connection]:
    has_codes = exists().where(
        ShopDiscount.connection_id == Connection.id, ShopDiscount.ends_at > now - AFTER_END, is_due
    )
    own = {"team_id": session.settings.team_id, "state": "active"}
    active = select(Connection, has_codes).filter_by(**own).order_by(Connection.id)
    rows = session.execute(active).tuples()
    return [shop for shop, with_codes in rows if with_codes or WEBHOOKS_AT in shop.config]


def submit_due(database: Database) -> str | None:
    """Submit a job if webhooks wait and no such job is open."""
    with database.reading() as session:
        is_waiting = webhook_inbox.is_waiting(session)
        if not is_waiting or jobs.is_kind_open(session, ShopInbox.kind):
            return None
    with database.transaction() as session:
        key = f"shop_inbox:{clock.wall().timestamp():.0f}"
        job = jobs.submit_due(session, ShopInbox(), key).job
    jobs.wake(database.settings, job)
    return job.id
