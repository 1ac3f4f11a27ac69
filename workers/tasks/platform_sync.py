"""Hand a publication over to a mail platform, and read back who left.

The job stores the platform's error with the connection. Its channel hears of it once, and once when
it is over.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from workers import campaign_messages
from workers.requests import PlatformSync
from workers.tasks.interface import Context, Outcome, Post

LISTS = "pushed_lists"  # in the connection's settings


def run(request: PlatformSync, context: Context) -> Outcome:
    """Synchronise one platform.

    Parameters
    ----------
    request : PlatformSync
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts, and a new problem in one sentence.
    """
    from retention.campaigns.platform_sync import SyncCounts, record_left, sync_platform
    from retention.campaigns.states import find_campaign
    from retention.connect import connections
    from retention.connect.contract import ConnectorError
    from retention.connect.registry import connector
    from retention.db.tables import Connection
    from retention.lake import Lake
    from retention.outreach.bounces import MAX_DELAY
    from retention.risk.policy import load_policy

    settings, database, now = context.settings, context.database, context.business_at
    with database.reading() as session:
        connection = session.get_one(Connection, request.connection_id)
        platform: Any = connector(connection.kind, connections.access(settings, connection))
        known_lists = list(connection.config.get(LISTS, ()))
    counts, left, error = SyncCounts(), list[tuple[str, str, datetime]](), None
    try:
        # First, and a day longer than bounces take: who left must not be written to again.
        left = list(platform.left(now - MAX_DELAY - timedelta(days=1)))
        counts = sync_platform(
            database,
            settings,
            Lake.open(settings),
            load_policy(settings),
            platform,
            request.snapshot_id,
            context.progress,
            known_lists=known_lists,
        )
    except ConnectorError as problem:
        error = problem
    finally:
        platform.close()

    data: dict[str, Any] = {"error": error.code if error else None}

    def apply(session: Session) -> tuple[Post, ...]:
        stored = session.get_one(Connection, request.connection_id)
        for campaign_id in record_left(session, settings, left, now, counts):
            campaign = find_campaign(session, settings, campaign_id)
            campaign_messages.refresh_counts(session, settings, campaign)
        data.update(counts.as_dict())
        if error is None:
            stored.config = {**stored.config, LISTS: sorted(counts.lists)}
        if not connections.note_error(stored, error) or stored.channel is None:
            return ()
        values = {"name": stored.name, "code": error.code if error else ""}
        return (Post("connect/platform", values, channel=stored.channel),)

    return Outcome(data, apply=apply)
