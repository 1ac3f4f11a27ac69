"""Compare the codes at a shop with ours, and ask again for webhooks that the shop dropped.

A difference is reported in the channel that owns the shop. Missing codes are made again, and codes
that must not exist are deleted, by the job `shop_codes`. A shop drops webhooks after failed
deliveries, e.g. of one that is too large.
"""

import logging
from contextlib import closing
from dataclasses import asdict
from functools import partial

from sqlalchemy import select

from retention.campaigns.codes.shop_code_check import Differences, compare
from retention.campaigns.lifecycle.states import CLOCK
from retention.connect.contract import ConnectorError
from retention.connect.registry import open_code_maker
from retention.connect.shops.hooks import restore_webhooks
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Campaign, Connection, ShopDiscount
from workers.campaigns.job_requests import ShopReconcile
from workers.queue.completion import fenced
from workers.shops import shop_code_messages
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)


def run_shop_reconcile(request: ShopReconcile, context: Context) -> Outcome:
    """Compare, and queue the repairs."""
    with context.database.reading() as session:
        connection = session.get(Connection, request.connection_id)
    found, error, webhooks = Differences(), None, dict[str, int]()
    if connection is not None and connection.state == "active":
        with closing(open_code_maker(context.settings, connection)) as maker:
            try:
                found = compare(partial(fenced, context), maker, connection.id, context.business_at)
            except ConnectorError as problem:  # the job that makes codes reports it
                error = problem.code
        try:
            webhooks = restore_webhooks(context.settings, connection)
        except ConnectorError as problem:
            log.warning("%s: no webhooks: %s %s", connection.name, problem.code, problem.detail)

    def apply(session: Transaction) -> tuple[Post, ...]:
        if connection is None:
            return ()
        subject, at = connection.name, context.business_at
        record(session, CLOCK, "shop_codes.compare", subject, at, data)
        if found.is_equal:
            return ()
        newest = (
            select(Campaign.channel)
            .join(ShopDiscount, ShopDiscount.campaign_id == Campaign.id)
            .where(ShopDiscount.connection_id == connection.id)
            .order_by(Campaign.sent_at.desc())
        )
        channel = session.scalar(newest.limit(1))
        return (shop_code_messages.difference_post(connection, found, channel),)

    data = {**asdict(found), "error": error, "webhooks": webhooks}
    return Outcome(data, apply=apply)
