"""Read opens and clicks back from mail platforms, into the lake.

A reading may take several jobs. What it has read is stored together with the place from which the
next job goes on. Reading a page again changes nothing.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from retention.connect.live import inbox
from retention.connect.platforms.contacts import END, Reaction
from retention.db import Database
from retention.lake import Lake
from retention.lake.importing import live_import
from retention.outreach import tracking
from retention.outreach.bounces import Bounce, customer_ids
from retention.risk.policy import load_policy

if TYPE_CHECKING:
    from retention.connect.platforms.contacts import MailPlatform

SAME = timedelta(hours=1)  # an open or click that both the platform and the desk saw
MOST_STORED = 10_000  # opens and clicks of one commit of the lake
MOST_UNSTORED = 30.0  # seconds of reading that a killed job loses; machine opens fill whole pages


@dataclass(slots=True)
class Reading:
    """The state of reading opens and clicks of ``[since, until)``, which may take several jobs.

    What is before ``position`` in ``part`` is stored, and so are parts before this one.
    """

    since: datetime
    until: datetime
    part: str = ""
    position: Any = None
    is_complete: bool = False

    @classmethod
    def resumed(cls, since: datetime, now: datetime, rest: Mapping[str, Any] | None) -> Self:
        """Return the state to continue with.

        `since`: end of the last complete reading. `rest`: `rest` of the job before.
        """
        if rest is None or not rest["part"]:
            return cls(since, now.replace(microsecond=0))  # platforms filter by seconds
        until = datetime.fromisoformat(rest["until"])
        return cls(since, until, rest["part"], rest["position"])

    def rest(self) -> dict[str, Any] | None:
        """Return a JSON object for `resumed`; None if nothing is left to read."""
        if self.is_complete:
            return None
        until = self.until.isoformat()
        return {"until": until, "part": self.part, "position": self.position}


def read_reactions(
    database: Database, platform: "MailPlatform", reading: Reading, now: datetime, ends_at: float
) -> Iterator[int]:
    """Store opens and clicks by people; yield how many are new whenever ``reading`` has advanced.

    `ends_at`: of `time.monotonic`. Then no further page is read, and a later call continues.
    """
    waiting, stored_at = list[Reaction](), time.monotonic()
    for found, part, position in _pages(platform, reading):
        waiting += [each for each in found if reading.since <= each[2] < reading.until]
        at = time.monotonic()
        if at > min(ends_at, stored_at + MOST_UNSTORED) or len(waiting) >= MOST_STORED:
            new = store_reactions(database, platform.kind, waiting, now)
            reading.part, reading.position = part, position
            waiting, stored_at = [], time.monotonic()
            yield new
            if at > ends_at:
                return
    new = store_reactions(database, platform.kind, waiting, now)
    reading.is_complete = True
    yield new


def _pages(platform: "MailPlatform", reading: Reading) -> Iterator[tuple[list[Reaction], str, Any]]:
    """Yield the pages that are left, each with the part and position from which reading goes on."""
    since, until = reading.since, reading.until
    if until <= since:
        return
    first, position = reading.part, reading.position
    for part in sorted(platform.reaction_parts(since, until)):
        if part < first or (part == first and position == END):
            continue
        begin = position if part == first else None
        for found, following in platform.reaction_pages(part, since, until, begin):
            yield found, part, following


def store_reactions(
    database: Database, source: str, reactions: Sequence[Reaction], now: datetime
) -> int:
    """Append opens and clicks of a platform's e-mails to the lake, with consent; count them.

    Those within an hour of one that the desk itself saw are the same, and are left out.

    `reactions`: kind, e-mail address and time. Those that the lake has change nothing.
    """
    if not reactions:
        return 0
    lake, reports = Lake.open(database.settings), [Bounce(at, email=e) for _, e, at in reactions]
    with database.reading() as session:
        found = customer_ids(session, reports)
        moments = [at for _, _, at in reactions]
        seen = tracking.own_times(session, min(moments) - SAME, max(moments) + SAME)
    whose = [min(ids, default="") for ids in found]
    consented = tracking.consenting(lake, load_policy(database.settings), {*whose} - {""})
    rows = [
        tracking.lake_event(customer, kind, at, now, source)
        for customer, ids, (kind, _, at) in zip(whose, found, reactions, strict=True)
        if customer in consented[kind]
        and not any(abs(at - own) <= SAME for each in ids for own in seen.get((each, kind), ()))
    ]
    if not rows:
        return 0
    lines = inbox.ndjson(rows)
    added = live_import.append(lake, database, database.settings, lines, name=source)
    return added.report.rows_accepted
