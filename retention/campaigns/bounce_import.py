"""Import bounces from a file: whose copies of campaigns came back after a mail server or a platform had taken them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retention.campaigns.row_import import Judging, import_judged, utc
from retention.campaigns.states import find
from retention.db import Database
from retention.db.tables import Campaign, Send
from retention.lake.import_log import ImportReport
from retention.lake.lake import Lake
from retention.lake.quarantine_reasons import ReasonCode
from retention.lake.schema import BOUNCES
from retention.outreach.bounces import Bounce, bounced
from retention.progress import Progress, silent
from retention.settings import Settings

AT_ONCE = 2_000
Recount = Callable[[Session, Campaign], None]


def import_bounces(
    lake: Lake,
    database: Database,
    settings: Settings,
    files: list[str],
    map_path: Path | None = None,
    *,
    recount: Recount,
    query: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import files (or one database query) of bounces, as `import_judged` does.

    Parameters
    ----------
    recount : callable
        Tells of a campaign whose copies were marked, in the transaction that marks them.
    """

    def judge(session: Session, rows: Sequence[Any]) -> list[str]:
        told = [Bounce(utc(at), who, email) for who, email, at in rows]
        outcomes, campaigns = bounced(session, settings, told)
        for campaign_id in sorted(campaigns):
            recount(session, find(session, settings, campaign_id))
        return outcomes

    foreign = ReasonCode.UNKNOWN_RECIPIENT
    judging = Judging(BOUNCES, judge, _kept, foreign, "finding their copies", AT_ONCE)
    return import_judged(
        lake, database, settings, judging, files, map_path, query=query, progress=progress
    )


def _kept(session: Session) -> int:
    return session.scalar(select(func.count()).where(Send.state == "bounced")) or 0
