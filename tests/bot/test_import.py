"""Test `retention import`: the suggested map and the missing file."""

import json
import sqlite3
import tomllib
from contextlib import closing
from types import SimpleNamespace

import pytest

from bot.commands import Call
from bot.commands.parsing import parse
from bot.terminal import run
from retention.lake import Lake
from retention.lake.importing import import_files


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


def test_events_as_of_a_day_are_those_of_the_shops_calendar(settings, tmp_path):
    """An analyst counts the rows whose local date is at most that day."""
    own = settings.model_copy(update={"timezone": "Asia/Tokyo"})
    times = [
        f"2025-03-{day:02} {hour:02}:{30 * half:02}"
        for day in (23, 24, 25)
        for hour in (0, 8, 23)
        for half in (0, 1)
    ]
    path, map_path = tmp_path / "orders.csv", tmp_path / "map.toml"
    path.write_text("customer,at\n" + "".join(f"c{n},{at}\n" for n, at in enumerate(times)))
    map_path.write_text(
        '[events]\ntimezone = "Asia/Tokyo"\ncustomer_id = "customer"\noccurred_at = "at"\n'
        'event_type = { value = "purchase" }\n'
    )
    lake = Lake.open(own)
    import_files(lake, None, own, "events", [str(path)], map_path)
    parsed = parse("cohort --as-of 2025-03-24")
    services = SimpleNamespace(settings=own, database=None)
    request = parsed.command.handle(Call(services, "U1", "slack", "k"), parsed.params)
    known = lake.table("events", request.as_of).count().execute()
    assert known == sum(at[:10] <= "2025-03-24" for at in times) == 12
    assert f"{lake.local(request.as_of):%d %b}" == "24 Mar"
