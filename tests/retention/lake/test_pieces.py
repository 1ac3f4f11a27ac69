"""Files larger than memory are read and written in pieces and committed at once.

Each event is stored once.
"""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime

import pandas as pd
import pytest

from retention.lake.importing.import_files import import_files
from retention.lake.reading import sources
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store


@pytest.fixture
def small_pieces(monkeypatch):
    """What would be held in memory at once is ten rows."""
    monkeypatch.setattr(sources, "MAX_ROWS_IN_MEMORY", 10)


def _many(path, rows=95):
    days = [datetime(2025, 1 + n % 3, 1 + n % 28, n % 24) for n in range(rows)]
    ids = [str(n % 40) for n in range(rows)]
    columns = {"customer_id": ids, "event_type": "view", "occurred_at": days, "item_id": ids}
    pd.DataFrame(columns).to_parquet(path, row_group_size=7)
    return str(path)


@pytest.mark.nightly
def test_file_in_pieces_is_one_commit_without_duplicates(
    small_pieces, lake, settings, tmp_path, write_file
):
    updates = []
    twice = [_many(tmp_path / "a.parquet"), _many(tmp_path / "b.parquet", 100)]
    report = import_files(
        lake, None, settings, "events", twice, progress=lambda *at: updates.append(at)
    )
    found = (report.rows_read, report.rows_accepted, report.rows_duplicate, report.rows_equal)
    assert found == (195, 100, 95, 95)
    events = lake.table("events")
    assert events.count().execute() == events.event_id.nunique().execute() == 100
    assert delta_store.version(lake.root, TABLES["events"]) == 0
    assert any("50 rows" in what for _, _, what in updates)
    csv = write_file(
        "customer_id,event_type,occurred_at,item_id\n"
        + "".join(f"{n},view,2025-04-{1 + n % 28},x\n" for n in range(45))
    )
    assert import_files(lake, None, settings, "events", [csv, *twice]).rows_accepted == 45


def test_source_ids_are_deduplicated_across_pieces_and_months(small_pieces, lake, import_file):
    rows = "".join(f"{n % 30},{n},view,2025-{1 + n % 9:02}-01\n" for n in range(60))
    report = import_file("event_id,customer_id,event_type,occurred_at\n" + rows)
    assert (report.rows_accepted, report.rows_duplicate, report.rows_equal) == (30, 30, 30)
    first = lake.table("events").filter(lambda events: events.event_id == "7").execute()
    assert first["customer_id"].tolist() == ["7"]  # the first of each


def test_events_with_and_without_ids_are_deduplicated_together(lake, import_file):
    """One has no id, one its source's, one comes back out of the lake with the id it got there."""

    def imported(lines: str) -> tuple[int, int]:
        report = import_file("event_id,customer_id,event_type,occurred_at\n" + lines)
        return report.rows_accepted, report.rows_duplicate

    assert imported(",a,view,2025-01-05\n,b,view,2025-03-05\n") == (2, 0)
    assert imported("7,a,view,2025-01-05\n8,a,view,2025-02-01\n") == (2, 0)
    events = lake.table("events").execute()
    ours = events.event_id[events.customer_id == "b"].item()
    assert imported(",b,view,2025-03-05\n,b,view,2025-03-06\n") == (1, 1)
    found = imported("8,a,view,2025-04-01\n9,b,view,2025-03-05\n")
    assert found == (1, 1)  # an id is one event, whenever
    assert imported(f"{ours},b,view,2025-05-01\n,a,view,2025-01-05\n") == (0, 2)
    assert lake.table("events").count().execute() == 6


def test_large_text_is_read_through_a_scratch_file(monkeypatch, import_file):
    monkeypatch.setattr(sources, "LARGE_TEXT", 100)
    rows = "".join(f"{n},view,{1 + n % 28:02}/01/2025\n" for n in range(50))
    header = "customer_id,event_type,occurred_at\n"
    report = import_file(f"{header}{rows}9,view,17/01/2025,too,many\n")
    assert (report.rows_accepted, report.rows_quarantined) == (50, 1)
    text = '{"customer_id": 1, "event_type": "view", "occurred_at": "2025-02-01"}\n' * 9
    assert import_file(text, name="large.jsonl").rows_accepted == 1


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("large", [1 << 28, 100], ids=["from memory", "by a scratch file"])
def test_every_piece_has_nested_and_optional_columns(
    large, small_pieces, monkeypatch, lake, import_file
):
    monkeypatch.setattr(sources, "LARGE_TEXT", large)
    lines = [{"sku": "a"}, {"sku": "b"}]
    orders = [{"user": {"id": n}, "at": "2025-02-01", "lines": lines} for n in range(25)]
    text = "\n".join(map(json.dumps, orders))
    map_text = (
        "[events]\ncustomer_id = 'user.id'\noccurred_at = 'at'\nevent_type = { value = 'view' }\n"
    )
    unnest = "from = { sql = 'SELECT *, unnest(\"lines\") AS line FROM source' }"
    for rows, item in (
        (25, 'item_id = "Sku"\noptional = ["Sku"]'),
        (50, f"item_id = 'line.sku'\n{unnest}"),
    ):
        report = import_file(text, map_text + item, name="nested.jsonl")
        assert report.rows_accepted == rows
    assert lake.table("events").customer_id.nunique().execute() == 25


def test_refused_import_leaves_no_files(small_pieces, lake, settings, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(delta_store, "commit_parts", broken)
    with pytest.raises(RuntimeError, match="disk"):
        import_files(lake, None, settings, "events", [_many(tmp_path / "a.parquet")])
    assert not list(lake.root.rglob("*.parquet"))


KILLED_IN_BETWEEN = """
import os, signal, sys
from retention.lake import Lake
from retention.lake.reading import sources
from retention.lake.importing.import_files import import_files
from retention.lake.schema import TABLES
from retention.settings import Settings
sources.MAX_ROWS_IN_MEMORY = 10
def progress(done, total, what):
    if "50 rows" in what:
        os.kill(os.getpid(), signal.SIGKILL)  # five pieces are written, five are not
settings = Settings(home=sys.argv[1], _env_file=None)
import_files(Lake.open(settings), None, settings, "events", [sys.argv[2]], progress=progress)
"""


@pytest.mark.nightly
def test_import_killed_between_pieces_leaves_the_table_unchanged(
    lake, settings, tmp_path, import_file
):
    import_file("customer_id,event_type,occurred_at\n1,view,2024-01-01\n")
    file = _many(tmp_path / "many.parquet")
    command = [sys.executable, "-c", KILLED_IN_BETWEEN, settings.home, file]
    env = {**os.environ, "PYTHONPATH": "."}
    assert subprocess.run(command, env=env).returncode == -signal.SIGKILL
    assert len(list(lake.root.rglob("*.parquet"))) > 1
    assert lake.table("events").count().execute() == 1
    report = import_files(lake, None, settings, "events", [file])
    assert report.rows_accepted == 95
    assert lake.table("events").count().execute() == 96
    monday = os.stat(lake.root).st_mtime - 3 * 86_400
    for path in lake.root.rglob("*.parquet"):
        os.utime(path, (monday, monday))
    # What was left behind is gone, and nothing else.
    delta_store.compact(lake.root, TABLES["events"])
    assert lake.table("events").count().execute() == 96
    assert len(list(lake.root.rglob("*.parquet"))) == 4
