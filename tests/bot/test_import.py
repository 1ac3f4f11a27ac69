"""Test `retention import`: the suggested map and the missing file."""

import json
import sqlite3
import tomllib
from contextlib import closing

import pytest

from bot.terminal import run


def test_import_prints_only_the_suggested_map(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "home"))
    path = tmp_path / "sales.csv"
    rows = [
        f"{n % 40},{1000 + n // 5},{1 + n % 7},"
        f"2010-01-{4 + n // 20:02} 08:{n % 60:02}:00,{2 + n % 9}.5"
        for n in range(400)
    ]
    path.write_text("\n".join(["user_id,order_id,product_id,created_at,price", *rows]))
    assert run(["import", "events", "--suggest-map", str(path)]) == 0
    assert tomllib.loads(capsys.readouterr().out)["events"]["customer_id"] == "user_id"
    assert run(["import", "events"]) == 2
    assert "Name at least one file" in capsys.readouterr().err


def _shop(path) -> str:
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.execute("CREATE TABLE invoices (InvoiceId, CustomerId, InvoiceDate, Total)")
        rows = [(n, n % 9, f"2024-01-{n % 28 + 1:02} 10:00:00", n + 0.99) for n in range(60)]
        shop.executemany("INSERT INTO invoices VALUES (?, ?, ?, ?)", rows)
    return f"sqlite:///{path}"


def test_suggests_a_map_for_a_database_query(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "home"))
    url, query = _shop(tmp_path / "shop.sqlite"), "SELECT * FROM invoices"
    assert run(["import", "events", "--suggest-map", url, "--query", query]) == 0
    proposal = capsys.readouterr().out
    section = tomllib.loads(proposal)["events"]
    assert (section["order_id"], section["amount"]) == ("InvoiceId", "Total")
    assert "--query" in proposal
    (tmp_path / "map.toml").write_text(proposal)
    command = ["import", "events", url, "--query", query, "--map", str(tmp_path / "map.toml")]
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows_accepted"] == 60


@pytest.mark.parametrize("more", [[], ["--query", "SELECT 1"]], ids=["alone", "with a query"])
def test_sqlite_file_gets_a_hint_with_its_url(tmp_path, monkeypatch, capsys, more):
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "home"))
    path = tmp_path / "shop.sqlite"
    url = _shop(path)
    assert run(["import", "events", "--suggest-map", str(path), *more]) == 2
    hint = capsys.readouterr().err
    assert f"'{url}' --query 'SELECT * FROM \"invoices\"'" in hint
