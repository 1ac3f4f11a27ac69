"""Hand a publication over to a mail platform, and read back who left.

The job stores the platform's error with the connection. Its channel hears of it once, and once when
it is over. Unsubscribes are committed before the hand-over, which may need several jobs.
"""

import time
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from workers import campaign_messages
from workers.completion import fenced
from workers.publishing import UNFINISHED
from workers.requests import PlatformSync
from workers.tasks.interface import Context, Outcome, Post

LISTS, READ_UNTIL = "pushed_lists", "left_read_until"  # in the connection's settings
MOST_WORK = 600.0  # seconds until no further list is started; a job is stopped after 870
FIRST_READ = timedelta(days=180)  # who left before the desk was connected


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
    from retention.campaigns.platform_sync import (
        HandOver,
        SyncCounts,
        record_left,
        sync_platform,
    )
    from retention.campaigns.states import find_campaign
    from retention.connect import connections
    from retention.connect.contract import ConnectorError
    from retention.connect.registry import connector
    from retention.db.tables import Connection
    from retention.lake import Lake
    from retention.risk.policy import load_policy

    ends_at = time.monotonic() + MOST_WORK
    settings, database, now = context.settings, context.database, context.business_at
    with database.reading() as session:
        connection = session.get_one(Connection, request.connection_id)
        platform: Any = connector(connection.kind, connections.access(settings, connection))
        config = dict(connection.config)
    counts, error = SyncCounts(), None
    hand_over = HandOver.resumed(request.snapshot_id, config.get(LISTS, ()), config.get(UNFINISHED))
    try:
        # First, because who left must not be written to again.
        left = list(platform.left(left_since(config.get(READ_UNTIL), now)))
        with fenced(context) as session:
            for campaign_id in record_left(session, settings, left, now, counts):
                campaign = find_campaign(session, settings, campaign_id)
                campaign_messages.refresh_counts(session, settings, campaign)
            stored = session.get_one(Connection, request.connection_id)
            stored.config = {**stored.config, READ_UNTIL: now.isoformat()}
        sync_platform(
            database,
            settings,
            Lake.open(settings),
            load_policy(settings),
            platform,
            hand_over,
            context.progress,
            counts=counts,
            is_over=lambda: time.monotonic() > ends_at,
        )
    except ConnectorError as problem:
        error = problem
    finally:
        platform.close()

    data = {
        "error": error.code if error else None,
        "is_complete": hand_over.is_complete,
        **counts.as_dict(),
    }

    def apply(session: Session) -> tuple[Post, ...]:
        stored = session.get_one(Connection, request.connection_id)
        stored.config = {
            **stored.config,
            LISTS: sorted(hand_over.known_lists),
            UNFINISHED: hand_over.rest(),
        }
        if not connections.note_error(stored, error) or stored.channel is None:
            return ()
        values = {"name": stored.name, "code": error.code if error else ""}
        return (Post("connect/platform", values, channel=stored.channel),)

    return Outcome(data, apply=apply)


def left_since(read_until: str | None, now: datetime) -> datetime:
    """Return from when on bounces and unsubscribes are read.

    Reports arrive late, so each reading overlaps with the one before. It is longer after an outage.

    Parameters
    ----------
    read_until : str or None
        Time of the last reading; None before the first one.
    now : datetime
        Business time.
    """
    from retention.outreach.bounces import MAX_DELAY

    if read_until is None:
        return now - FIRST_READ
    return min(now, datetime.fromisoformat(read_until)) - MAX_DELAY - timedelta(days=1)
