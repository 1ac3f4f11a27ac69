"""Compare the codes at a shop with ours, and ask again for webhooks that the shop dropped.

A difference is reported in the channel that owns the shop. Missing codes are made again, and codes
that must not exist are deleted, by the job `shop_codes`. A shop drops webhooks after failed
deliveries, e.g. of one that is too large.
"""

import logging
from contextlib import closing
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns.states import CLOCK
from retention.db.audit import record
from workers import shop_messages
from workers.completion import fenced
from workers.requests import ShopReconcile
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)


def run(request: ShopReconcile, context: Context) -> Outcome:
    """Compare, and queue the repairs.

    Parameters
    ----------
    request : ShopReconcile
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts, and one sentence if there is a difference.
    """
    from retention.campaigns.shop_code_check import Differences, compare
    from retention.connect.code_makers import open_code_maker
    from retention.connect.contract import ConnectorError
    from retention.connect.hooks import restore_webhooks
    from retention.db.tables import Campaign, Connection, ShopDiscount

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

    def apply(session: Session) -> tuple[Post, ...]:
        if connection is None:
            return ()
        subject, at = connection.name, context.business_at
        record(session, context.settings, CLOCK, "shop_codes.compare", subject, at, data)
        if found.is_equal:
            return ()
        newest = (
            select(Campaign.channel)
            .join(ShopDiscount, ShopDiscount.campaign_id == Campaign.id)
            .where(ShopDiscount.connection_id == connection.id)
            .order_by(Campaign.sent_at.desc())
        )
        channel = session.scalar(newest.limit(1))
        return (shop_messages.difference_post(connection, found, channel),)

    data = {
        "compared": found.compared,
        "missing": found.missing,
        "extra": found.extra,
        "foreign": found.foreign,
        "error": error,
        "webhooks": webhooks,
    }
    return Outcome(data, apply=apply)
