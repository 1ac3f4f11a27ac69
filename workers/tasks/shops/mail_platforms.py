"""Hand a publication over to a mail platform, read back who left, and have profiles deleted.

`run_platform_sync` stores the platform's error with the connection. Its channel hears of it once,
and once when it is over. Unsubscribes are committed before the hand-over, which may need several
jobs.
"""

import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from retention.campaigns.lifecycle.states import find_campaign
from retention.connect import connections
from retention.connect.contract import (
    LISTS,
    REACTED_UNTIL,
    READ_UNTIL,
    UNFINISHED,
    UNREAD,
    ConnectorError,
)
from retention.connect.platforms import profile_deletion
from retention.connect.platforms.platform_sync import (
    HandOver,
    SyncCounts,
    record_left,
    sync_platform,
)
from retention.connect.platforms.reactions import Reading, read_reactions
from retention.connect.registry import connector
from retention.db import Transaction
from retention.db.tables import Connection, Job
from retention.outreach.bounces import MAX_DELAY
from workers import user_roles
from workers.campaigns import messages
from workers.job_requests import DeleteProfile, PlatformSync
from workers.queue.completion import fenced
from workers.tasks.interface import Context, Outcome, Post

# Seconds until no further list or page is started; a job is stopped after 870. Pages have some more
# after a long hand-over.
MOST_WORK, LEAST_READING = 600.0, 60.0
FIRST_READ = timedelta(days=180)  # who left before the desk was connected


def run_platform_sync(request: PlatformSync, context: Context) -> Outcome:
    ends_at = time.monotonic() + MOST_WORK
    settings, database, now = context.settings, context.database, context.business_at
    with database.reading() as session:
        connection = session.get_one(Connection, request.connection_id)
        platform: Any = connector(connection.kind, connections.access(settings, connection))
        config = dict(connection.config)
    counts, error = SyncCounts(), None
    rest, unread = config.get(UNFINISHED), config.get(UNREAD)
    hand_over = HandOver.resumed(request.snapshot_id, config.get(LISTS, ()), rest)
    # Reading comes last: what another job has left to read, it had handed over.
    is_handed_over = rest is None and (unread or {}).get("snapshot_id") == request.snapshot_id
    hand_over.is_complete = is_handed_over
    # A consent has no date: nothing from before the last reading, when it may have been missing
    since = datetime.fromisoformat(config.get(REACTED_UNTIL) or now.isoformat())
    reading = Reading.resumed(since, now, unread)

    def save(session: Transaction) -> Connection:
        """Store what the next job needs in order to continue."""
        stored = session.get_one(Connection, request.connection_id)
        done: dict[str, Any] = {LISTS: sorted(hand_over.known_lists), UNFINISHED: hand_over.rest()}
        more = reading.rest()
        done[UNREAD] = more and {"snapshot_id": request.snapshot_id, **more}
        if reading.is_complete:
            done[REACTED_UNTIL] = reading.until.isoformat()
        stored.config = {**stored.config, **done}
        return stored

    try:
        # First, because who left must not be written to again.
        left = list(platform.left(left_since(config.get(READ_UNTIL), now)))
        with fenced(context) as session:
            for campaign_id in record_left(session, left, now, counts):
                messages.refresh_counts(session, find_campaign(session, campaign_id))
            stored = session.get_one(Connection, request.connection_id)
            stored.config = {**stored.config, READ_UNTIL: now.isoformat()}
        if not is_handed_over:
            sync_platform(database, platform, hand_over, counts, context.progress, ends_at)
        ends_at = max(ends_at, time.monotonic() + LEAST_READING)
        for new in read_reactions(database, platform, reading, now, ends_at):
            counts.reactions += new
            with fenced(context) as session:
                save(session)
    except ConnectorError as problem:
        error = problem
    finally:
        platform.close()

    code = error.code if error else None
    data = {"error": code, "is_complete": hand_over.is_complete, **asdict(counts)}

    def apply(session: Transaction) -> tuple[Post, ...]:
        stored = save(session)
        if not connections.note_error(stored, error) or stored.channel is None:
            return ()
        values = {"name": stored.name, "code": code or ""}
        return (Post("connect/platform", values, channel=stored.channel),)

    return Outcome(data, apply=apply)


def left_since(read_until: str | None, now: datetime) -> datetime:
    """Return from when on bounces and unsubscribes are read.

    Reports arrive late, so each reading overlaps with the one before. It is longer after an outage.

    `read_until`: time of the last reading; None before the first one.
    """
    if read_until is None:
        return now - FIRST_READ
    return min(now, datetime.fromisoformat(read_until)) - MAX_DELAY - timedelta(days=1)


def run_delete_profile(request: DeleteProfile, context: Context) -> Outcome:
    """Ask once; the erasure's thread hears of the end, and an admin if the desk gives up."""
    deletion_id = request.deletion_id
    answer = profile_deletion.ask(context.database, deletion_id)

    def apply(session: Transaction) -> tuple[Post, ...]:
        row = profile_deletion.conclude(session, deletion_id, answer, context.requested_by)
        if row.state == profile_deletion.WAITING:
            return ()
        erasure = session.get_one(Job, row.job_id)
        key, thread = f"profile-deletion:{row.id}", f"job:{erasure.id}"
        channel, values = erasure.channel, {"name": row.name, "kind": row.kind, "code": answer[0]}
        if row.state == profile_deletion.BY_HAND:
            values["erased_at"] = row.created_at.isoformat()
            channel, thread = user_roles.an_admin(session, erasure.requested_by), ""
        return (Post("connect/profile_deletion", values, key, channel, thread or None),)

    return Outcome({"error": answer[0] or None}, apply=apply)
