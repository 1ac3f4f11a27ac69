"""Keep when an order was first seen as cancelled.

WooCommerce stores no such time. The time of the last change moves with each later edit, so a refund
after the cancellation would look like one before it and count a second time.
"""

from datetime import datetime

from sqlalchemy import select

from retention.connect.contract import FirstCancelled
from retention.db import Database
from retention.db.insert import insert_once
from retention.db.tables import CancelledOrder, Connection


def first_cancelled(database: Database, connection: Connection) -> FirstCancelled:
    """Return a function that keeps the first time of each order of a connection.

    Parameters
    ----------
    database : Database
        Stores the times.
    connection : Connection
        The shop.

    Returns
    -------
    callable
        From an order's id and the time of its last change to its stored time.
    """

    def stored(order_id: str, at: datetime) -> datetime:
        key = {"connection_id": connection.id, "order_id": order_id[:64]}
        with database.transaction() as session:
            insert_once(session, CancelledOrder, team_id=connection.team_id, at=at, **key)
            first: datetime = session.scalars(select(CancelledOrder.at).filter_by(**key)).one()
        return first

    return stored
