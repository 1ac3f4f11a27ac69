"""Test that stored data is kept as long as one table says."""

import ast
from datetime import date, timedelta
from pathlib import Path

from retention import logs
from retention.db import Base
from retention.privacy.periods import PERIODS

ROOT = Path(__file__).parents[3]
SOURCES = [path for name in ("retention", "workers", "bot") for path in (ROOT / name).rglob("*.py")]
FOLDERS = {"lake", "quarantine", logs.TRACES}


def test_code_applies_every_period_with_a_time():
    applied = {
        node.args[0].value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "keep"
        if isinstance(node.args[0], ast.Constant)
    }
    assert applied == {each.name for each in PERIODS if isinstance(each.keep, timedelta)}


def test_periods_name_stores_that_exist_and_every_table_with_customers():
    stores = {store for period in PERIODS for store in period.stores}
    tables = Base.metadata.tables
    assert stores - FOLDERS <= set(tables)
    with_customers = {name for name, table in tables.items() if "customer_id" in table.columns}
    assert with_customers <= stores


def test_old_traces_are_dropped(tmp_path):
    path, today = tmp_path / logs.TRACES, date(2026, 12, 2)
    path.write_text("reference 0a\n    from an earlier version\n")
    for day, text in ((today - timedelta(days=31), "old"), (today, "new")):
        logs.write_trace(path, text, ValueError(text), day)
    assert logs.drop_traces(path, today - timedelta(days=30)) == 2
    assert path.read_text().startswith(f"reference new {today}")
