"""Delete texts after their time."""

from typing import TYPE_CHECKING

from retention import clock
from retention.lake.lake import naive
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.privacy.periods import keep

if TYPE_CHECKING:
    from retention.lake import Lake


def drop_old(lake: "Lake") -> None:
    """Delete texts and what follows from them after the period of `retention.privacy.periods`.

    It counts back from now, or from the newest event where the shop's data ends earlier: an
    analyst may look at a shop of years ago.
    """
    newest = lake.newest_event(before=clock.now())
    if newest is None:
        return
    before = naive(min(newest, clock.now()) - keep("texts"))
    for name in ("texts", "text_signals"):
        table = TABLES[name]
        if delta_store.open_table(lake.root, table) is not None:
            with delta_store.locked(lake.root, table):
                limit = f"'{before.isoformat()}Z', 'Timestamp(Microsecond, Some(\"UTC\"))'"
                condition = f"occurred_at < arrow_cast({limit})"
                delta_store.delete(lake.root, table, condition)
