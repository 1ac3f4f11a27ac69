"""Compact the events when live appends have made many small files.

Readers never wait: they read the files of the version that they opened, which stay for a day.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from retention.lake import store
from retention.lake.schema import EVENTS

MAX_FILES = 200
SMALL_PARTITION = 4  # files; a month with fewer is left alone
LOG_RETENTION = "interval 1 days"  # commits of live events would fill the log's folder


def compact_events(root: Path) -> bool:
    """Compact the months with many files if they have `MAX_FILES` or more together.

    Many months with few files each are no reason: there would be one at every call.

    The caller holds no lock.

    Parameters
    ----------
    root : Path
        Folder of the Delta tables.

    Returns
    -------
    bool
        Whether files were compacted.
    """
    delta = store.open_table(root, EVENTS)
    if delta is None or sum(_crowded_months(delta).values()) < MAX_FILES:
        return False
    with store.locked(root, EVENTS):
        current = store.open_table(root, EVENTS)
        assert current is not None
        for month in _crowded_months(current):
            _compact_month(root, month)
        _shorten_log(root)
    return True


def _compact_month(root: Path, month: str) -> None:
    delta = store.open_table(root, EVENTS)
    assert delta is not None
    delta.optimize.compact(
        partition_filters=[("month", "=", month)], writer_properties=store.writer_properties()
    )


def _crowded_months(delta: Any) -> dict[str, int]:
    """Return the number of files of each month with more than `SMALL_PARTITION`."""
    import pyarrow as pa

    actions = pa.table(delta.get_add_actions(flatten=True))
    months = Counter(actions["partition.month"].to_pylist())
    return {month: files for month, files in months.items() if files > SMALL_PARTITION}


def _shorten_log(root: Path) -> None:
    """Write a checkpoint and drop commits that no reader needs any more."""
    delta = store.open_table(root, EVENTS)
    assert delta is not None
    if delta.metadata().configuration.get("delta.logRetentionDuration") != LOG_RETENTION:
        delta.alter.set_table_properties({"delta.logRetentionDuration": LOG_RETENTION})
        delta = store.open_table(root, EVENTS)
        assert delta is not None
    delta.create_checkpoint()
    delta.cleanup_metadata()
