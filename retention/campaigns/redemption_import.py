"""Import redemptions from a file: read and mapped as every table is, then judged and kept in SQL."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retention.campaigns.redemptions import Use, redeem
from retention.campaigns.row_import import Judging, import_judged, utc
from retention.db import Database
from retention.db.tables import Redemption
from retention.lake.import_log import ImportReport
from retention.lake.lake import Lake
from retention.lake.quarantine_reasons import ReasonCode
from retention.lake.schema import REDEMPTIONS
from retention.progress import Progress, silent
from retention.settings import Settings

AT_ONCE = 2_000  # uses judged in a transaction; it holds their coupons until it ends


def import_redemptions(
    lake: Lake,
    database: Database,
    settings: Settings,
    files: list[str],
    map_path: Path | None = None,
    *,
    query: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import files (or one database query) of used codes, as `import_judged` does. Codes that are none of ours go to the quarantine."""
    judging = Judging(
        REDEMPTIONS,
        partial(_judge, settings),
        _kept,
        ReasonCode.UNKNOWN_COUPON,
        "judging the codes",
        AT_ONCE,
    )
    return import_judged(
        lake, database, settings, judging, files, map_path, query=query, progress=progress
    )


def _judge(settings: Settings, session: Session, rows: Sequence[Any]) -> list[str]:
    uses = [Use(code, utc(at), "import", who, order) for code, at, who, order in rows]
    return redeem(session, settings, uses)


def _kept(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Redemption)) or 0
